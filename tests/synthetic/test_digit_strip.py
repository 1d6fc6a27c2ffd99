import pytest
import torch

from seefar.synthetic.digit_strip import digit_strips


def test_each_frame_is_the_one_above_moved_one_column_to_the_right():
    strips = digit_strips(5, frames=3, width=14, seed=1).view(5, 3, 8, 14)
    assert torch.equal(strips[:, 1:, :, 1:], strips[:, :-1, :, :-1])
    assert strips.min() >= 0 and strips.max() <= 16 and (strips.flatten(1).amax(1) > 8).all()


def test_seeds_decide_and_tests_are_of_other_digits():
    assert torch.equal(digit_strips(4, seed=1), digit_strips(4, seed=1))
    assert not torch.equal(digit_strips(4, seed=1), digit_strips(4, seed=2))
    learnt, held = (digit_strips(3000, frames=1, width=8, held_out=h, seed=0).flatten(1) for h in (False, True))
    assert not {tuple(x) for x in learnt.tolist()} & {tuple(x) for x in held.tolist()}


def test_a_digit_that_would_leave_the_picture_is_refused():
    with pytest.raises(ValueError, match=r"5 frames need a width of at least 12.*width=11"):
        digit_strips(1, frames=5, width=11, seed=0)
