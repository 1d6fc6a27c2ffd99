"""Pictures of any size and shape, cut at their own resolution and packed several to a row.

C colour channels, H height, W width, p side of a patch, M pictures, B rows, N tokens of a row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from seefar.sequence import VisualSequence


def fit_tokens(image: Tensor, patch: int, tokens: int) -> Tensor:
    """The picture resized to at most ``tokens`` patches, its aspect kept as far as whole patches can.

    With a = longer side / shorter side, the shorter side gets round(sqrt(tokens / a)) patches, at least one and at most
    floor(sqrt(tokens)), and the longer one a times as many, rounded, or what is left of ``tokens``.

    Args:
        image: (C, H, W) float.
        patch: side p of a patch, in pixels.
        tokens: the most that the picture may cost.

    Returns:
        (C, p rows, p columns), bilinear with a filter against aliasing.
    """
    _check_image("fit_tokens", image)
    if min(patch, tokens) < 1:
        raise ValueError(f"fit_tokens: patch and tokens must be positive, got {patch} and {tokens}")
    H, W = image.shape[1:]
    aspect = max(H, W) / min(H, W)
    short = min(max(1, round((tokens / aspect) ** 0.5)), math.isqrt(tokens))
    long = min(round(short * aspect), tokens // short)
    size = (short * patch, long * patch) if H <= W else (long * patch, short * patch)
    if size == (H, W):
        return image
    return F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]


def squash(image: Tensor, patch: int, tokens: int) -> Tensor:
    """The picture resized to a square of at most ``tokens`` patches, its aspect lost; arguments as ``fit_tokens``."""
    _check_image("squash", image)
    if min(patch, tokens) < 1:
        raise ValueError(f"squash: patch and tokens must be positive, got {patch} and {tokens}")
    side = math.isqrt(tokens) * patch
    return F.interpolate(image[None], (side, side), mode="bilinear", antialias=True)[0]


def first_fit(sizes: Sequence[int], length: int, rows: int | None = None) -> list[list[int]]:
    """Which things go into which row: each, in turn, into the first row that still has room for all of it.

    Args:
        sizes: of the things, none above ``length``.
        length: room of a row.
        rows: how many there are, and what finds no room is left out; None opens as many as it takes.

    Returns:
        The numbers of the things in each row, rising.

    Example:
        >>> first_fit([3, 4, 2, 5, 1], 6)
        [[0, 2, 4], [1], [3]]
    """
    if length < 1 or (rows is not None and rows < 1):
        raise ValueError(f"first_fit: length and rows must be positive, got {length} and {rows}")
    if sizes and (min(sizes) < 1 or max(sizes) > length):
        raise ValueError(f"first_fit: sizes must lie in [1, {length}], got {min(sizes)} to {max(sizes)}")
    room = [length] * (rows or 0)
    packed: list[list[int]] = [[] for _ in room]
    for i, size in enumerate(sizes):
        row = next((row for row, free in enumerate(room) if free >= size), None)
        if row is None:
            if rows is not None:
                continue
            row = len(room)
            room.append(length)
            packed.append([])
        room[row] -= size
        packed[row].append(i)
    return packed


def pack_images(
    images: Sequence[Tensor],
    patch: int,
    length: int,
    *,
    rows: int | None = None,
    drop: float | Sequence[float] | Tensor = 0.0,
    generator: torch.Generator | None = None,
) -> VisualSequence:
    """Patches of pictures of any size and aspect, several pictures to a row of fixed length, none of them split.

    A token is a square of p x p pixels, flattened as (C, row, column), before any weights; ``segment`` is the number of
    its picture in ``images``, -1 on padding, and attention within equal segments keeps pictures apart. Boxes are those
    of the whole picture, whichever of its tokens are dropped. Packing is ``first_fit`` in the given order.

    Args:
        images: M pictures (C, H, W), floats as a rule in [0, 1].
        patch: side p of a square; H and W must be multiples of it.
        length: N, tokens of a row.
        rows: B, and pictures that find no room are left out (``images_in`` tells which did); None for as many rows as
            it takes.
        drop: share of each picture's tokens that is dropped at random, one for all or one for each, in [0, 1); at least
            one token stays.
        generator: decides which tokens go; None for torch's own.

    Returns:
        tokens (B, N, C p p). Span is 0, for a picture has no time; gradients reach the pixels.

    Raises:
        ValueError: no picture, a side that is no multiple of ``patch``, a picture longer than a row, a share outside
            [0, 1), pictures that differ in channels, dtype or device.

    Reference: Dehghani et al., Patch n' Pack, NaViT, arXiv 2307.06304.
    """
    if not images:
        raise ValueError("pack_images: needs at least one picture, got none")
    if min(patch, length) < 1:
        raise ValueError(f"pack_images: patch and length must be positive, got {patch} and {length}")
    given = drop.tolist() if isinstance(drop, Tensor) else drop
    shares = list(given) if isinstance(given, Sequence) else [float(given)] * len(images)
    if len(shares) != len(images):
        raise ValueError(f"pack_images: {len(images)} pictures need as many shares to drop, got {len(shares)}")
    if not all(0 <= share < 1 for share in shares):
        raise ValueError(f"pack_images: a share to drop lies in [0, 1), got {min(shares)} to {max(shares)}")
    for i, image in enumerate(images):
        _check_sides(i, image, images[0], patch)
    cells = [image[0].numel() // patch**2 for image in images]
    sizes = [max(1, round(n * (1 - share))) for n, share in zip(cells, shares, strict=True)]
    if max(sizes) > length:
        i = sizes.index(max(sizes))
        raise ValueError(
            f"pack_images: picture {i} makes {sizes[i]} tokens, a row holds {length}; shrink it with "
            f"fit_tokens(image, {patch}, {length}), drop more of it, or give length={sizes[i]}"
        )
    packed = first_fit(sizes, length, rows)
    order = [i for row in packed for i in row]
    cut = [_cut(images[i], patch, sizes[i], generator) for i in order]
    where = torch.cat([torch.arange(start, start + sizes[i]) for i, start in _starts(packed, sizes, length)])
    B, device = len(packed), images[0].device
    where = where.to(device)

    def laid_out(values: Tensor, padding: float) -> Tensor:
        flat = values.new_full((B * length, *values.shape[1:]), padding)
        return flat.index_copy(0, where, values).unflatten(0, (B, length))

    number = torch.tensor(order).repeat_interleave(torch.tensor([sizes[i] for i in order])).to(device)
    segment = laid_out(number, -1)
    return VisualSequence(
        tokens=laid_out(torch.cat([tokens for tokens, _ in cut]), 0),
        span=torch.zeros(B, length, 2, dtype=torch.float64, device=device),
        box=laid_out(torch.cat([box for _, box in cut]), 0),
        mass=(segment >= 0).to(torch.float32),
        segment=segment,
        mask=segment >= 0,
    )


def images_in(seq: VisualSequence) -> Tensor:
    """(M,) the number of each picture that a packed sequence holds, row by row: the order in which poolings give them.

    Example:
        >>> pictures = [torch.rand(3, 8, 16), torch.rand(3, 8, 8), torch.rand(3, 16, 8)]
        >>> images_in(pack_images(pictures, 8, 3)).tolist()
        [0, 1, 2]
    """
    first = torch.ones_like(seq.mask)
    first[:, 1:] = seq.segment.diff(dim=1) != 0
    return seq.segment[first & seq.mask]


def _starts(packed: list[list[int]], sizes: list[int], length: int) -> list[tuple[int, int]]:
    """Each packed picture with the place of its first token among all B * N."""
    starts = []
    for row, members in enumerate(packed):
        place = row * length
        for i in members:
            starts.append((i, place))
            place += sizes[i]
    return starts


def _cut(image: Tensor, patch: int, keep: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """The patches (n, C p p) of a picture and their boxes (n, 4): all, or ``keep`` of them in raster order."""
    C, rows, columns = image.shape[0], image.shape[1] // patch, image.shape[2] // patch
    squares = image.reshape(C, rows, patch, columns, patch).permute(1, 3, 0, 2, 4).reshape(rows * columns, -1)
    which = torch.arange(rows * columns)
    if keep < len(which):
        which = torch.randperm(len(which), generator=generator)[:keep].sort().values
        squares = squares[which.to(image.device)]
    y, x = which // columns, which % columns
    box = torch.stack([y / rows, x / columns, (y + 1) / rows, (x + 1) / columns], 1)
    return squares, box.to(image.device)


def _check_image(who: str, image: Tensor) -> None:
    if image.ndim != 3 or not image.numel():
        raise ValueError(f"{who}: a picture must be (C, H, W) and hold something, got {tuple(image.shape)}")
    if not image.is_floating_point():
        raise ValueError(f"{who}: pixels must be floats in [0, 1], got {image.dtype}: call .float() / 255")


def _check_sides(i: int, image: Tensor, first: Tensor, patch: int) -> None:
    _check_image(f"pack_images, picture {i}", image)
    if (image.shape[0], image.dtype, image.device) != (first.shape[0], first.dtype, first.device):
        kinds = " and ".join(f"{x.shape[0]} channels of {x.dtype} on {x.device}" for x in (first, image))
        raise ValueError(f"pack_images: picture {i} is of another kind than picture 0: {kinds}")
    for name, side in (("height", image.shape[1]), ("width", image.shape[2])):
        if side % patch:
            raise ValueError(
                f"pack_images: picture {i} has {name} {side}, no multiple of the patch {patch}; pad it to "
                f"{-(-side // patch) * patch} with torch.nn.functional.pad, or resize it with fit_tokens"
            )
