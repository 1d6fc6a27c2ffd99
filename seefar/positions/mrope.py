"""Multimodal rotary positions: the (time, row, column) that each token of a prompt claims.

L tokens of a prompt, N tokens of a film, T temporal steps, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class FilmPlaces:
    """Where the tokens of a film stand, counted from the position at which the film begins.

    Args:
        t, h, w: (N,) int64 offsets of the tokens that are in the prompt.
        extent: (T, H, W), one more than the largest offset of the whole film on each axis, absent tokens included, so
            that what follows the film keeps its position whatever was taken out of it.
    """

    t: Tensor
    h: Tensor
    w: Tensor
    extent: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.t)


def time_offsets(seconds: Tensor, tokens_per_second: float) -> Tensor:
    """Time positions of temporal steps from the seconds at which they begin: floor(tokens_per_second * (s_k - s_0)).

    Equal to the published floor(k * tokens_per_second * seconds_per_step) for evenly spaced steps, and true for uneven
    ones. A product within 1e-6 below a whole number counts as that number, so that 3 * 0.1 s is not rounded down.

    Args:
        seconds: (T,) float64.
        tokens_per_second: positions that a second takes.
    """
    since = seconds.to(torch.float64) - seconds[:1].to(torch.float64)
    return (since * tokens_per_second + 1e-6).floor().to(torch.int64)


def raster(steps: Tensor, height: int, width: int) -> FilmPlaces:
    """Every token of a film in order time, row, column; ``steps`` is (T,) int64 time offsets."""
    T = len(steps)
    size = (T, height, width)
    rows, columns = (torch.arange(n, device=steps.device) for n in (height, width))
    return FilmPlaces(
        t=steps[:, None, None].expand(size).reshape(-1),
        h=rows[None, :, None].expand(size).reshape(-1),
        w=columns[None, None, :].expand(size).reshape(-1),
        extent=(int(steps.max()) + 1 if T else 0, height, width),
    )


def mrope(parts: Sequence[int | FilmPlaces], *, compat: str = "published") -> Tensor:
    """(4, 1, L) position ids of a prompt made of stretches of text and films.

    Row 0 counts all tokens (the mask of the language model is built from it), rows 1 to 3 are time, row and column.
    Text advances all three by one a token; a film that begins at position p gives p + (t, h, w); the text after it goes
    on at p + max(extent).

    Args:
        parts: in prompt order; an int is that many text tokens.
        compat: "published" for the rule above; "transformers" for what 5.23 does, where the text goes on at
            p + max(H, W) of the film, so that its positions lie inside a long film.

    Raises:
        ValueError: on a negative text length or an unknown ``compat``.

    Reference: Wang et al., Qwen2-VL, arXiv 2409.12191; seconds as in Bai et al., Qwen2.5-VL, arXiv 2502.13923.
    """
    if compat not in ("published", "transformers"):
        raise ValueError(f"mrope: compat must be 'published' or 'transformers', got {compat!r}")
    at, columns = 0, []
    for part in parts:
        if isinstance(part, int):
            if part < 0:
                raise ValueError(f"mrope: a stretch of text cannot have {part} tokens")
            columns.append(torch.arange(at, at + part).expand(3, -1))
            at += part
        else:
            columns.append(torch.stack([part.t, part.h, part.w]).cpu() + at)
            at += max(part.extent if compat == "published" else part.extent[1:])
    places = torch.cat(columns, 1) if columns else torch.zeros(3, 0, dtype=torch.int64)
    return torch.cat([torch.arange(places.shape[1])[None], places])[:, None]
