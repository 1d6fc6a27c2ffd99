"""Several tensors, of several dtypes, in one message."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def pack(tensors: Sequence[Tensor]) -> Tensor:
    """All of their bytes behind each other, (bytes,) uint8; wider dtypes first, so that each stays aligned."""
    return torch.cat([tensors[i].detach().contiguous().view(-1).view(torch.uint8) for i in _order(tensors)])


def unpack(parcel: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """The tensors of a parcel, as views of it, in the shapes, dtypes and order of ``like``.

    Raises:
        ValueError: the parcel has another size than ``like`` would have.
    """
    sizes = [tensor.nbytes for tensor in like]
    if parcel.nbytes != sum(sizes):
        raise ValueError(f"unpack: a parcel of {parcel.nbytes} bytes cannot hold tensors of {sum(sizes)}")
    out: list[Tensor] = [parcel] * len(like)
    start = 0
    for i in _order(like):
        out[i] = parcel[start : start + sizes[i]].view(like[i].dtype).view(like[i].shape)
        start += sizes[i]
    return out


def _order(tensors: Sequence[Tensor]) -> list[int]:
    return sorted(range(len(tensors)), key=lambda i: -tensors[i].element_size())
