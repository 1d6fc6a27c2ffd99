"""Windows cover a text, each token once, with the margins that were asked for; what is kept is what was read."""

import random
from types import SimpleNamespace

import pytest
import torch

from seefar.hf.windows import states_in_windows, windows


def test_every_token_is_kept_once_and_away_from_the_edges_of_its_window():
    draw = random.Random(0)
    for _ in range(500):
        size, overlap = draw.randint(2, 40), draw.choice([0, 0.1, 0.5, 0.9, draw.random()])
        length, margin = draw.randint(1, 300), int(size * overlap / 2)
        if size <= 2 * margin:
            continue
        parts = windows(length, size, overlap)
        kept = [token for part in parts for token in range(part.first, part.last)]
        assert kept == list(range(length)), (length, size, overlap)
        for part in parts:
            assert 0 <= part.start <= part.first < part.last <= part.stop <= length
            assert part.stop - part.start == min(size, length)
            assert part.first == 0 or part.first - part.start >= margin
            assert part.last == length or part.stop - part.last >= margin


@pytest.mark.parametrize("at_once", [1, 3, 16])
def test_kept_states_are_those_of_their_own_windows(at_once):
    ids, seen = torch.arange(100, 137), []

    def encoder(input_ids, attention_mask):
        assert attention_mask.all() and len(input_ids) <= at_once
        seen.extend(input_ids[:, 0].tolist())
        start = input_ids[:, :1].expand_as(input_ids)
        return SimpleNamespace(last_hidden_state=torch.stack([input_ids, start], -1))

    got = torch.cat(list(states_in_windows(encoder, ids, 8, overlap=0.5, at_once=at_once)))
    want = [(100 + t, 100 + w.start) for w in windows(37, 8, 0.5) for t in range(w.first, w.last)]
    assert got.tolist() == [list(pair) for pair in want]
    assert seen == [100 + w.start for w in windows(37, 8, 0.5)]


@pytest.mark.parametrize(("length", "size", "overlap"), [(0, 4, 0.5), (9, 0, 0.5), (9, 4, 1.0), (9, 4, -0.1)])
def test_what_cannot_be_is_refused(length, size, overlap):
    with pytest.raises(ValueError, match=r"an overlap in \[0, 1\)"):
        windows(length, size, overlap)
