"""Films on disk show what their truth says."""

import itertools
import json

import av
import numpy as np
import pytest

from seefar.media import write_video
from seefar.synthetic.film import frames, render_film
from seefar.synthetic.shapes import COLOURS, digit, photograph, stencil
from seefar.synthetic.story import write_story


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    story = write_story(4, 120, photographs=[("cat", 60.0)])
    truth = render_film(path, write_video, seed=4, rate=2.0, story=story)
    with av.open(str(path)) as container:
        shown = {float(f.time): f.to_ndarray(format="rgb24") for f in container.decode(video=0)}
    return path, story, truth, shown


def test_the_file_is_h264_of_the_right_length(film):
    path, _story, _, shown = film
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
    assert len(shown) == 240 and max(shown) == pytest.approx(119.5)


def test_the_truth_lies_beside_the_film(film):
    path, _story, truth, _ = film
    assert json.loads(path.with_suffix(".json").read_text()) == json.loads(json.dumps(truth))
    assert truth["seconds"] == 120 and len(truth["questions"]) > 10


def test_each_shape_has_its_colour_where_the_truth_puts_it(film):
    _, story, _, shown = film
    checked = 0
    for seen in story.sightings:
        who = story.cast[seen.who]
        if who.number is not None or who.shape == "ring":
            continue
        for second, picture in shown.items():
            if seen.start <= second < seen.end:
                times, ys, xs = np.array(seen.path).T
                y, x = np.interp(second, times, ys) * 360, np.interp(second, times, xs) * 360
                got = picture[round(y) - 3 : round(y) + 4, round(x) - 3 : round(x) + 4].mean((0, 1))
                colour = who.colour if seen.recolour is None or second < seen.recolour[0] else seen.recolour[1]
                assert np.abs(got - COLOURS[colour]).max() < 45, (seen, second)
                checked += 1
    assert checked > 10


def test_the_needle_is_there_for_its_second_alone(film):
    _, story, _, shown = film
    card = story.photographs[0]
    wanted = photograph("cat", 360, 640, card.seed).astype(float)
    off = {second: np.abs(picture - wanted).mean() for second, picture in shown.items()}
    assert off[60.0] < 12 and off[60.5] < 12
    assert min(value for second, value in off.items() if not 60 <= second < 61) > 25


def test_frames_are_the_same_for_a_seed_and_made_one_at_a_time():
    story = write_story(9, 36_000)
    first, again = (list(itertools.islice(frames(story, rate=1.0), 5)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_handwriting_is_split():
    train = {digit(3, k, 8, "train").tobytes() for k in range(200)}
    rest = {digit(3, k, 8, "held-out").tobytes() for k in range(200)}
    assert len(train) > 100 and len(rest) > 20 and not train & rest


def test_an_unknown_shape_names_the_known_ones():
    with pytest.raises(ValueError, match="triangle"):
        stencil("hexagon", 8, 8)
