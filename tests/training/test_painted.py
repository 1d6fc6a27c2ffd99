"""Frames painted for training: what they show is what their scene says, and never a held-out combination."""

import numpy as np
import torch

from seefar.synthetic.shapes import COLOURS, held_out
from seefar.training.painted import paint, write_digit


def test_frames_come_from_the_seed_alone_and_show_what_is_said():
    made, again = (paint(np.random.default_rng(4), (64, 112), 60) for _ in range(2))
    assert all(torch.equal(a[0], b[0]) and a[1] == b[1] for a, b in zip(made, again, strict=True))
    off, counts = [], set()
    for frame, scene in made:
        assert frame.shape == (3, 64, 112) and frame.dtype == torch.uint8 and not scene.cards
        counts.add(len(scene.things))
        for thing in scene.things:
            assert not held_out(thing.colour, thing.shape)
            if thing.number is None and thing.shape in ("circle", "square", "cross", "star"):
                y, x = (int(c * side) for c, side in zip(thing.centre, (64, 112), strict=True))
                colour = torch.tensor(COLOURS[thing.colour])
                off.append(float((frame[:, y, x].float() - colour).abs().max()))
    assert counts == {0, 1, 2} and len(off) > 5
    assert sorted(off)[len(off) // 2] < 12  # one in front may cover another


def test_backdrops_change_and_things_stay_on_the_frame():
    made = paint(np.random.default_rng(5), (64, 112), 40, empty=1.0, each=2)
    middle = torch.stack([frame.float().mean((1, 2)) for frame, _ in made])
    assert (middle[0::2] - middle[1::2]).abs().mean() < 0.5 * (middle[2:] - middle[:-2]).abs().mean()
    for _, scene in paint(np.random.default_rng(6), (64, 112), 40, empty=0.0):
        assert all(0 < c < 1 for thing in scene.things for c in thing.centre) and scene.things


def test_a_written_digit_is_ink_on_nothing():
    rng = np.random.default_rng(0)
    inks = np.stack([write_digit(rng, value, 24) for value in range(10) for _ in range(5)])
    assert inks.shape == (50, 24, 24) and inks.min() >= 0 and inks.max() <= 1
    assert 0.1 < inks.mean() < 0.5 and inks[:, 0, 0].mean() < 0.1
    assert not np.array_equal(inks[0], inks[1])
