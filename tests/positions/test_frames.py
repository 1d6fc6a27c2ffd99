"""Places of frames: rows of a table, or shares of a film."""

import pytest
import torch

from seefar.positions import LearnedFrames


def filled(frames=4, **options):
    places = LearnedFrames(2, frames, **options).double()
    torch.nn.init.normal_(places.table, generator=torch.Generator().manual_seed(0))
    return places


def test_they_begin_at_zero():
    assert not LearnedFrames(3, 5)(0, 5).any()


def test_a_frame_gets_its_own_row():
    places = filled()
    assert torch.equal(places(1, 3), places.table[1:3])
    assert torch.equal(places(1, 3, total=100), places.table[1:3])


@pytest.mark.parametrize("total", [1, 3, 4, 9])
def test_stretched_they_are_the_table_resized_to_the_film(total):
    places = filled(stretch=True)
    want = torch.nn.functional.interpolate(places.table.T[None], size=total, mode="linear")[0].T
    torch.testing.assert_close(places(0, total, total), want)
    torch.testing.assert_close(torch.cat([places(t, t + 1, total) for t in range(total)]), want)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: LearnedFrames(0, 4), "positive dim"),
        (lambda: filled()(3, 5), "frame 4 lies beyond a table of 4 frames.*stretch=True"),
        (lambda: filled(stretch=True)(0, 2), "total must be"),
        (lambda: filled(stretch=True)(0, 6, 5), "6 frames or more: 5"),
    ],
)
def test_wrong_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
