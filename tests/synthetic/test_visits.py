"""Films of visits: as many as asked for, apart, and the questions about them."""

from itertools import pairwise

import pytest

from seefar.synthetic.questions import ask_about
from seefar.synthetic.shapes import held_out
from seefar.synthetic.visits import APART, STAY, write_visits

VISITS = (1, 1, 2, 3, 5, 8)


@pytest.fixture(scope="module")
def stories():
    return [write_visits(seed, 300.0, VISITS) for seed in range(8)]


def test_everybody_comes_as_often_as_asked(stories):
    for story in stories:
        assert [sum(seen.who == who for seen in story.sightings) for who in range(6)] == list(VISITS)
        assert len({who.name for who in story.cast}) == 6 and all(who.number is None for who in story.cast)


def test_stays_are_one_at_a_time_apart_and_inside_the_film(stories):
    for story in stories:
        assert story.sightings[0].start >= APART and story.sightings[-1].end <= story.seconds
        for a, b in pairwise(story.sightings):
            assert b.start - a.end >= APART - 1e-9 and a.who != b.who
        assert all(STAY[0] <= seen.end - seen.start <= STAY[1] for seen in story.sightings)


def test_how_often_is_asked_of_everybody_with_a_span_for_each_stay(stories):
    for story in stories:
        asked = [q for q in ask_about(story, per_topic=6) if q.topic == "visits"]
        assert sorted(len(q.spans) for q in asked) == sorted(VISITS)
        assert all(q.answer == str(len(q.spans)) for q in asked)


def test_a_seed_gives_one_film_and_another_seed_another(stories):
    assert write_visits(3, 300.0, VISITS) == stories[3] != stories[4]


def test_who_alone_is_left_comes_again_and_again():
    assert [seen.who for seen in write_visits(0, 60.0, (4,)).sightings] == [0] * 4


def test_training_films_show_no_held_out_combination():
    story = write_visits(1, 120.0, (1, 2, 3), split="train")
    assert not any(held_out(who.colour, who.shape) for who in story.cast)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: write_visits(0, 60.0, ()), "at least once"),
        (lambda: write_visits(0, 60.0, (1, 0)), "at least once"),
        (lambda: write_visits(0, 60.0, (5,)), "5 stays need a film of 70 seconds, got 60"),
        (lambda: write_visits(0, 60.0, (1,), split="test"), "split must be one of"),
    ],
)
def test_misuse_says_what_was_wrong(call, words):
    with pytest.raises(ValueError, match=words):
        call()
