"""Majority: labels count all bits, answers are balanced, ties cannot be."""

import pytest
import torch

from seefar.synthetic.majority import majority


def test_the_label_is_the_majority_and_answers_are_balanced():
    x, y = majority(2000, 9, seed=0)
    assert x.shape == (2000, 9, 2) and bool((x.sum(-1) == 1).all())
    assert torch.equal(y, (x[..., 1].mean(1) > 0.5).long())
    assert 0.45 < float(y.float().mean()) < 0.55
    assert torch.equal(x, majority(2000, 9, seed=0)[0]) and not torch.equal(x, majority(2000, 9, seed=1)[0])


def test_a_length_that_allows_ties_is_refused():
    with pytest.raises(ValueError, match="odd number of tokens"):
        majority(3, 8, seed=0)
