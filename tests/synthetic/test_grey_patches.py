import numpy as np
import pytest
import torch

from seefar.synthetic.grey_patches import CANVAS, grey_patches
from seefar.synthetic.shapes import PHOTOGRAPHS, photograph

pytest.importorskip("skimage")


def stands_in(patch, name, levels):
    canvas = photograph(name, CANVAS, CANVAS, 0).mean(2).astype(np.uint8).astype(int) * levels // 256
    windows = np.lib.stride_tricks.sliding_window_view(canvas, patch.shape)
    return any((windows == side).all((-1, -2)).any() for side in (patch, patch[:, ::-1]))


@pytest.mark.parametrize("held_out", [False, True])
def test_every_picture_is_cut_from_a_photograph_of_its_split(held_out):
    names = [name for i, name in enumerate(PHOTOGRAPHS) if (i % 4 == 3) == held_out]
    for patch in grey_patches(3, 12, levels=64, held_out=held_out, seed=5).numpy():
        found = [name for name in PHOTOGRAPHS if stands_in(patch, name, 64)]
        assert found and set(found) <= set(names)


def test_levels_reach_from_black_to_white_and_seeds_decide():
    some = grey_patches(40, 16, levels=8, seed=1)
    assert some.dtype == torch.int64 and some.shape == (40, 16, 16)
    assert some.min() == 0 and some.max() == 7
    assert torch.equal(some, grey_patches(40, 16, levels=8, seed=1))
    assert not torch.equal(some, grey_patches(40, 16, levels=8, seed=2))


@pytest.mark.parametrize("given", [{"count": 0}, {"side": 257}, {"side": 0}, {"levels": 1}, {"levels": 257}])
def test_says_what_is_wrong(given):
    with pytest.raises(ValueError, match="grey_patches: count is at least 1, side at most 256, levels from 2 to 256"):
        grey_patches(**{"count": 1, "seed": 0} | given)
