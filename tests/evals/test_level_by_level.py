"""Oracle: the op's loop over tokens."""

import pytest
import torch

from seefar.evals.level_by_level import contenders, level_by_level
from seefar.ops.dilated_conv import dilated_conv


@pytest.mark.parametrize("reads", [True, False])
def test_torch_level_by_level_is_the_loop(reads):
    generator = torch.Generator().manual_seed(0)
    x, low, high, tail = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((2, 40, 3), (3, 4, 3), (3, 4, 3), (3,))
    )
    rest = (high, tail) if reads else (None, None)
    want, _ = dilated_conv(x, low, *rest, dilations=(1, 2, 6), backend="reference")
    got = level_by_level(x.mT, low, *rest, dilations=(1, 2, 6)).mT
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("reads", [True, False])
def test_contenders_do_the_same_work(reads):
    fused, plain = (prepare(50)() for prepare in contenders(3, 3, 2, reads=reads).values())
    torch.testing.assert_close(plain.mT, fused, rtol=1e-4, atol=1e-5)
    mine, theirs = (prepare(50)() for prepare in contenders(3, 3, 2, reads=reads, backward=True).values())
    assert len(mine) == len(theirs) == (4 if reads else 2)
    for a, b in zip(mine[1:], theirs[1:], strict=True):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-4)
