"""A parcel gives back what went in, bit for bit."""

import pytest
import torch

from seefar.distributed.parcel import pack, unpack


def test_tensors_of_several_dtypes_and_strides_come_back_as_they_were():
    tensors = [
        torch.randn(3, 5).bfloat16(),
        torch.randn(4, 3, dtype=torch.float64).mT,
        torch.arange(5),
        torch.randn(7),
        torch.tensor([True, False, True]),
    ]
    parcel = pack(tensors)
    assert parcel.nbytes == 30 + 96 + 40 + 28 + 3
    for got, want in zip(unpack(parcel.clone(), tensors), tensors, strict=True):
        assert got.dtype == want.dtype and torch.equal(got, want)


def test_a_parcel_of_another_size_is_refused():
    with pytest.raises(ValueError, match="a parcel of 8 bytes cannot hold tensors of 12"):
        unpack(pack([torch.ones(2)]), [torch.ones(3)])
