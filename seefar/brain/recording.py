"""What was shown to an animal, what it did, and what its cells answered.

T trials, N units, C colour channels, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Recording:
    """The trials of one animal.

    Args:
        pictures: (T, C, H, W) float, what was shown, as a rule standardised.
        stimulus: (T,) int64, which picture that was; trials with one number are repeats of it.
        responses: (T, N) float, spikes or another measure that is not negative.
        behaviour: (T, K) what the animal did, such as pupil size, its change and running speed, each of about unit
            deviation; None where nobody measured it.
        pupil: (T, 2) centre of the pupil x y, standardised; None where nobody measured it.

    Raises:
        ValueError: trials that don't match; responses that are negative or withheld (NaN).
    """

    pictures: Tensor
    stimulus: Tensor
    responses: Tensor
    behaviour: Tensor | None = None
    pupil: Tensor | None = None

    def __post_init__(self) -> None:
        if self.pictures.ndim != 4 or self.responses.ndim != 2 or self.stimulus.ndim != 1:
            shapes = [tuple(part.shape) for part in (self.pictures, self.stimulus, self.responses)]
            raise ValueError(f"Recording: needs pictures (T, C, H, W), stimulus (T,), responses (T, N), got {shapes}")
        rows = {name: len(part) for name, part in vars(self).items() if part is not None}
        if len(set(rows.values())) > 1:
            raise ValueError(f"Recording: every part needs one row for each trial, got {rows}")
        if self.pupil is not None and self.pupil.shape[1:] != (2,):
            raise ValueError(f"Recording: pupil must be (T, 2), got {tuple(self.pupil.shape)}")
        if not torch.isfinite(self.responses).all() or (self.responses < 0).any():
            raise ValueError(
                "Recording: responses must be finite and not negative; withheld ones, as those of a hashed test, can "
                "be predicted but not trained on or scored"
            )

    def __len__(self) -> int:
        return len(self.responses)

    @property
    def units(self) -> int:
        """N."""
        return self.responses.shape[1]

    def take(self, trials: Tensor) -> Recording:
        """Some of the trials, by number (T',) or by mask (T,)."""
        return replace(self, **{name: part[trials] for name, part in vars(self).items() if part is not None})

    def to(self, device: torch.device) -> Recording:
        """The same on a device."""
        return replace(self, **{name: part.to(device) for name, part in vars(self).items() if part is not None})
