"""Scores of which it is known."""

import torch

from seefar.analysis.collisions import doubles_collide
from seefar.mixers import Inline, NormalizedLinear


def test_they_are_counted_where_weights_are_equal():
    assert doubles_collide(NormalizedLinear(), queries=8, keys=40, width=4) == 1
    assert doubles_collide(NormalizedLinear(torch.exp), queries=8, keys=40, width=4) == 0
    assert doubles_collide(Inline(), queries=8, keys=40, width=4) == 0
    assert doubles_collide(Inline(), queries=1, keys=1, width=4) == 1, "one key gets all of the weight"
