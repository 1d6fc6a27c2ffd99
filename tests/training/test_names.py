"""Names of patches as targets, and the alterations that take colours and outlines apart."""

import numpy as np
import pytest
import torch

from seefar.synthetic.shapes import SHAPES
from seefar.training.names import (
    COLOUR,
    NUMBER,
    SHAPE,
    SQUASHED,
    UNSURE,
    altered,
    mix_colours,
    name_targets,
    names_loss,
    turn,
)
from seefar.training.worlds import COLOUR_LIST, Scene, Thing

STAR = Thing("white", "star", 7, False, (0.625, 0.5), 0.2)
NOTHING = (8, 8, 10, 0)


def test_a_patch_bears_the_names_of_the_shape_on_it_and_one_far_away_bears_none():
    targets = name_targets(Scene((STAR,), ()), (4, 7)).reshape(4, 4, 7)
    assert targets[:, 2, 3].tolist() == [COLOUR_LIST.index("white"), SHAPES.index("star"), 7, 0]
    assert tuple(targets[:, 0, 0].tolist()) == tuple(targets[:, 3, 6].tolist()) == NOTHING
    assert (targets[:, 2, 2] == UNSURE).all() or targets[SHAPE, 2, 2] == SHAPES.index("star")
    assert (name_targets(Scene((), ()), (4, 7)) == torch.tensor(NOTHING)[:, None]).all()


def test_the_number_of_a_squashed_shape_is_unsure():
    squashed = Thing("white", "star", 7, True, (0.625, 0.5), 0.2)
    at = name_targets(Scene((squashed,), ()), (4, 7)).reshape(4, 4, 7)[:, 2, 3]
    assert at[NUMBER] == UNSURE and at[SQUASHED] == 1 and at[SHAPE] == SHAPES.index("star")


def test_the_loss_is_nothing_where_every_sure_name_is_right_and_blind_to_the_unsure():
    targets = name_targets(Scene((STAR,), ()), (4, 7))
    right = torch.full((28, 31), -20.0)
    for first, truth in zip((0, 9, 18, 29), targets, strict=True):
        right[torch.arange(28), first + truth.clamp(min=0)] = 20
    assert float(names_loss(right, targets)[0]) < 1e-6
    right[targets[SHAPE] == UNSURE] = torch.randn(31)
    loss, shares = names_loss(right, targets)
    assert float(loss) < 1e-6 and shares == {"colour": 1, "shape": 1, "number": 1}
    assert float(names_loss(-right, targets)[0]) > 10


def test_a_turn_leaves_the_centre_where_it_is_and_keeps_lengths():
    frame = torch.zeros(3, 64, 112, dtype=torch.uint8)
    frame[:, 30:34, 40:44] = 200  # the centre
    frame[:, 30:34, 60:64] = 100  # twenty pixels to its right
    for seed in range(5):
        turned = turn(frame, (0.5, 0.375), np.random.default_rng(seed))[0].float()
        assert turned[31:33, 41:43].min() > 150
        spots = ((turned > 60) & (turned < 140)).nonzero().float() + 0.5
        spots = spots[(spots - torch.tensor([32.0, 42.0])).norm(dim=1) > 10]
        off = (spots.mean(0) - torch.tensor([32.0, 42.0])).norm()
        assert off == pytest.approx(20, abs=1)


def test_mixing_colours_keeps_outlines_and_turns_one_colour_into_one_colour():
    frame = torch.zeros(3, 8, 8, dtype=torch.uint8)
    frame[0, 2:5, 2:5] = 220
    mixed = mix_colours(frame, np.random.default_rng(1))
    assert mixed[:, 2:5, 2:5].flatten(1).unique(dim=1).shape[1] == 1 and mixed[:, 0, 0].tolist() == [0, 0, 0]


def test_only_what_an_alteration_keeps_is_still_known():
    frame, scene = torch.zeros(3, 64, 112, dtype=torch.uint8), Scene((STAR,), ())
    seen = set()
    for seed in range(30):
        targets = name_targets(scene, (4, 7))
        _, targets, known = altered(frame, scene, targets, np.random.default_rng(seed), 0.4)
        at = targets.reshape(4, 4, 7)[:, 2, 3]
        teaches = (bool(at[COLOUR] != UNSURE), bool(at[SHAPE] != UNSURE))
        assert (known(("white", None)), known((None, "star"))) == teaches
        assert known(("white", "star")) == all(teaches) and known(("word", "harbor"))
        seen.add(teaches)
    assert seen == {(True, True), (True, False), (False, True)}
