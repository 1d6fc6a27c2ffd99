"""Scenes hold what they say, captions make up what they should, and the same seed gives the same ones."""

import numpy as np
import pytest
import torch

from seefar.synthetic.scenes import CELL, END, PAD, PairedScenes


def test_the_same_seed_gives_the_same_scenes_and_another_one_others():
    world = PairedScenes(caption_bias=0.5)
    first, again, other = world.draw(6, [3, 1]), world.draw(6, [3, 1]), world.draw(6, [3, 2])
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.pixels, other.pixels) and not torch.equal(first.cells, other.cells)


def test_each_thing_fills_its_own_cell_and_the_rest_is_ground():
    world = PairedScenes(noise=0, pairs=3, grid=3)
    pixels, cells, _ = world.draw(40, 0)
    assert pixels.shape == (40, 3, 18, 18) and pixels.dtype == torch.float32
    looks = {}
    for picture, places in zip(pixels, cells, strict=True):
        taken = [int(c) for c in places if c >= 0]
        assert len(set(taken)) == len(taken)
        for cell in range(9):
            row, column = cell // 3 * CELL, cell % 3 * CELL
            patch = picture[:, row : row + CELL, column : column + CELL]
            if cell not in taken:
                assert not patch.any()
            else:
                looks.setdefault(int((places == cell).nonzero()), set()).add(tuple(patch.flatten().tolist()))
    assert sorted(looks) == list(range(6))
    assert all(len(look) == 1 for look in looks.values()) and len(set.union(*looks.values())) == 6


def test_things_have_names_of_their_own_and_companions_share_nothing_with_their_base():
    things = PairedScenes(pairs=8).things
    assert len(set(things)) == 16
    for base, companion in zip(things[::2], things[1::2], strict=True):
        assert not set(base.split()) & set(companion.split())


def test_companions_come_and_are_made_up_as_often_as_asked():
    world = PairedScenes(cooccur=0.4, caption_bias=0.65, grid=4)
    _, cells, words = world.draw(4000, 5)
    there, said = cells >= 0, world.said(words)
    base, companion = there[:, ::2], there[:, 1::2]
    assert base.any(1).all() and torch.equal(said[:, ::2], base)
    assert float(base.float().mean()) == pytest.approx(0.5 + 0.5 / 6, abs=0.02)  # one of them is there for sure
    assert float(companion[base].float().mean()) == pytest.approx(0.4, abs=0.02)
    assert not (companion & ~base).any() and not (said[:, 1::2] & ~base).any()
    assert said[:, 1::2][companion].all()
    assert float(said[:, 1::2][base & ~companion].float().mean()) == pytest.approx(0.65, abs=0.02)


def test_without_a_bias_captions_are_the_truth():
    world = PairedScenes()
    _, cells, words = world.draw(50, 1)
    assert torch.equal(world.said(words), cells >= 0)


def test_a_caption_names_things_in_order_then_ends():
    words = PairedScenes(pairs=2, grid=2).draw(100, 2).words
    for row in words.tolist():
        end = row.index(END)
        assert row[:end] == sorted(set(row[:end])) and min(row[:end]) > END and set(row[end + 1 :]) <= {PAD}
    assert words.shape == (100, 5) and words.max() == 7


def test_noise_has_the_deviation_that_was_asked_for():
    loud, still = (PairedScenes(noise=n).draw(20, 3).pixels for n in (0.7, 0.0))
    assert float((loud - still).std()) == pytest.approx(0.7, rel=0.02)
    assert np.abs(still.numpy()).max() <= 0.5


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"cooccur": 1.2}, "cooccur is a probability"),
        ({"caption_bias": -0.1}, "caption_bias is a probability"),
        ({"pairs": 9}, "1 to 8 pairs"),
        ({"pairs": 6, "grid": 3}, "12 things do not fit 3 x 3"),
        ({"noise": -1}, "must not be negative"),
    ],
)
def test_worlds_that_cannot_be_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        PairedScenes(**settings)


def test_no_picture_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        PairedScenes().draw(0, 1)
