"""What a decoding rule contrasts a picture with: other inputs to the same model, for the same answer.

A view is a function from the inputs that ``generate`` is given (``input_ids``, ``attention_mask``, ``pixel_values``
and so on) to those of the other run. What it draws at random it draws once, so that the whole answer meets one view.

B batch, L tokens of the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Inputs = Mapping[str, Any]
View = Callable[[Inputs], dict[str, Any]]

PIXELS = ("pixel_values", "pixel_values_videos")
"""Under these names the models of transformers take pictures and films."""
NOISE_STEPS = 1000
"""Steps of the published noise schedule."""


def kept_share(step: int) -> float:
    """How much of a picture's variance is left after ``step`` of the 1000 published diffusion steps.

    abar_T = prod_{i <= T} (1 - b_i),    b_i = sigmoid(-6 + 12 i / 999) (5e-3 - 1e-5) + 1e-5,    T = 0 ... 999

    Example:
        >>> [round(kept_share(step), 4) for step in (0, 500, 999)]
        [1.0, 0.7448, 0.0812]

    Raises:
        ValueError: there is no such step.
    """
    if not 0 <= step < NOISE_STEPS:
        raise ValueError(f"diffusion noise: the schedule has steps 0 to {NOISE_STEPS - 1}, got {step}")
    rates = torch.linspace(-6, 6, NOISE_STEPS, dtype=torch.float64).sigmoid() * (5e-3 - 1e-5) + 1e-5
    return float((1 - rates[: step + 1]).prod())


def diffusion_noise(step: int = 500, *, seed: int = 0) -> View:
    """Drowns the picture in Gaussian noise, so that what the model still says of it comes from its habits.

    v' = sqrt(abar_T) v + sqrt(1 - abar_T) eps,    eps ~ N(0, 1) of the shape of v

    Pictures and films are noised as the model takes them, after normalising. T = 500 leaves 86 % of the amplitude, T =
    999 leaves 28 %. The same seed gives the same noise on every device.

    Args:
        step: T of ``kept_share``.
        seed: of the noise.

    Raises:
        ValueError: there is no such step, there are no pixels, or they are not normalised yet.

    Reference: Leng et al., VCD, arXiv 2311.16922.
    """
    share = kept_share(step)

    def view(inputs: Inputs) -> dict[str, Any]:
        found = [name for name in PIXELS if inputs.get(name) is not None]
        if not found:
            raise ValueError(
                f"diffusion_noise: a picture is needed under {' or '.join(PIXELS)}, the inputs hold {sorted(inputs)}"
            )
        draw = torch.Generator().manual_seed(seed)
        return {**inputs, **{name: _noised(name, inputs[name], share, draw) for name in found}}

    return view


def text_only(*placeholders: int) -> View:
    """Leaves out the picture and its places in the prompt: what the model says of it unseen.

    Rows that lost more places than others are padded at the left.

    Args:
        placeholders: ids of the tokens that stand for the picture, such as ``model.config.image_token_id``.

    Raises:
        ValueError: no id was given, none stands in the prompt, or a row holds nothing else.
    """
    if not placeholders:
        raise ValueError(
            "text_only: name the tokens that stand for the picture: text_only(model.config.image_token_id)"
        )

    def view(inputs: Inputs) -> dict[str, Any]:
        ids: Tensor = inputs["input_ids"]
        mask = torch.ones_like(ids) if inputs.get("attention_mask") is None else inputs["attention_mask"]
        picture = torch.isin(ids, torch.tensor(placeholders, device=ids.device))
        words = ~picture & mask.bool()
        if not picture.any():
            raise ValueError(f"text_only: none of the tokens {placeholders} stands in the prompt")
        if not words.any(1).all():
            raise ValueError(f"text_only: row {int(words.any(1).int().argmin())} of the prompt holds no text")
        length = int(words.sum(1).max())
        order = words.int().argsort(dim=1, stable=True)[:, -length:]  # words last, in their order
        return {"input_ids": ids.gather(1, order), "attention_mask": words.to(mask.dtype).gather(1, order)}

    return view


def _noised(name: str, pixels: Tensor, share: float, draw: torch.Generator) -> Tensor:
    if not pixels.is_floating_point():
        raise ValueError(
            f"diffusion_noise: {name} is {pixels.dtype}; noise belongs on the normalised pixels that the model's "
            "processor gives"
        )
    noise = torch.randn(pixels.shape, generator=draw).to(pixels.device, pixels.dtype)
    return share**0.5 * pixels + (1 - share) ** 0.5 * noise
