"""Every text holds one needle of its width, before the question, and ends with its digit."""

import pytest
import torch

from seefar.synthetic.wide_needle import LETTERS, MARK, QUESTION, wide_needles


@pytest.mark.parametrize("width", [2, 16, None])
def test_one_needle_somewhere_and_its_digit_at_the_end(width):
    ids = wide_needles(200, 70, width=width, seed=0)
    assert ids.shape == (200, 70) and (ids[:, -2] == QUESTION).all() and (ids == QUESTION).sum() == 200
    starts, widths = set(), set()
    for row in ids.tolist():
        text, answer = row[:-2], row[-1]
        places = [i for i, unit in enumerate(text) if unit >= LETTERS]
        assert places == list(range(places[0], places[0] + len(places)))
        assert [text[i] for i in places] == [MARK, answer] * (len(places) // 2)
        starts.add(places[0])
        widths.add(len(places))
    assert widths == ({width} if width else {2, 4, 8, 16}) and min(starts) <= 2 and max(starts) >= 48


def test_the_last_units_before_the_question_can_be_kept_free():
    ids = wide_needles(200, 60, width=4, last=30, seed=0)[:, :-2]
    assert (ids[:, 28:] < LETTERS).all() and (ids[:, 24:28] >= LETTERS).any()


def test_the_seed_decides_the_text_and_the_world_its_rule():
    assert torch.equal(wide_needles(4, 60, seed=1), wide_needles(4, 60, seed=1))
    assert not torch.equal(wide_needles(4, 60, seed=1), wide_needles(4, 60, seed=2))
    pairs = [set() for _ in range(2)]
    for world in range(2):
        ids = wide_needles(50, 200, width=2, seed=3, world=world)
        both = torch.stack([ids[:, :-1], ids[:, 1:]], -1).flatten(0, 1)
        pairs[world] = {tuple(pair) for pair in both[(both < LETTERS).all(1)].tolist()}
    assert pairs[0] != pairs[1] and all(len(some) < 200 for some in pairs)  # 4 of 24 letters after each


def test_misfits_are_refused():
    with pytest.raises(ValueError, match="an even width"):
        wide_needles(1, 60, width=3, seed=0)
    with pytest.raises(ValueError, match=r"19 units for it.*length=18"):
        wide_needles(1, 18, seed=0)
