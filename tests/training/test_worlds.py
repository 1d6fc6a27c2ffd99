"""Labels for training, from the truth."""

import numpy as np

from seefar.synthetic.shapes import held_out
from seefar.synthetic.story import write_drill, write_story
from seefar.training.worlds import Scene, Thing, reels, scene, some_look, wording


def test_a_scene_shows_what_is_on_screen_then_and_nothing_else():
    story = write_story(11, 600, split="train")
    for seen in story.sightings:
        who = story.cast[seen.who]
        look = (who.colour, who.shape)
        assert scene(story, seen.start).shows(look) and not scene(story, seen.start - 0.01).shows(look)
        assert not scene(story, seen.end).shows(look)
        for second, _ in seen.bounces:
            assert any(t.squashed for t in scene(story, second).things)
        if seen.recolour:
            after = scene(story, seen.recolour[0])
            assert after.shows((seen.recolour[1], who.shape)) and not after.shows(look)


def test_half_named_looks_match_either_half():
    shown = Scene((Thing("red", "star", None, False, (0.5, 0.5), 0.2),), (("word", "harbor"),))
    assert shown.shows((None, "star")) and shown.shows(("red", None)) and shown.shows(("word", "harbor"))
    assert not shown.shows(("red", "ring")) and not shown.shows(("photograph", "harbor"))


def test_training_texts_never_name_a_held_out_combination():
    rng = np.random.default_rng(0)
    for k in range(500):
        colour, shape = some_look(rng, None)
        assert colour in ("word", "photograph", None) or shape is None or not held_out(colour, shape)
        assert str(shape or colour) in wording(rng, [(colour, shape)]), k


def test_a_drill_shows_something_every_second_and_no_held_out_combination():
    story = write_drill(3, 60)
    scenes = [scene(story, second) for second in range(60)]
    assert all(s.things or s.cards for s in scenes)
    assert not any(held_out(t.colour, t.shape) for s in scenes for t in s.things)


def test_reels_are_rendered_once_and_read_back(tmp_path):
    (made,) = reels(tmp_path, range(1), (32, 56), minutes=0.5)
    stamp = (tmp_path / "train-0000.mp4").stat().st_mtime_ns
    (again,) = reels(tmp_path, range(1), (32, 56), minutes=0.5)
    assert made.frames.shape == (30, 3, 32, 56) and (made.frames == again.frames).all()
    assert (tmp_path / "train-0000.mp4").stat().st_mtime_ns == stamp
