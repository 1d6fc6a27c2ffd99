"""Stories, by their own promises."""

import itertools

import pytest

from seefar.synthetic.shapes import COLOURS, SHAPES, held_out
from seefar.synthetic.story import CONTACT, write_story

STORIES = [
    write_story(seed, seconds, split=split)
    for seed in range(6)
    for seconds in (300.0, 3600.0)
    for split in ("train", "held-out")
]


def looks(story):
    found = {(story.cast[s.who].colour, story.cast[s.who].shape) for s in story.sightings}
    return found | {(s.recolour[1], story.cast[s.who].shape) for s in story.sightings if s.recolour}


def test_a_seed_gives_one_story_and_another_seed_another():
    assert write_story(5, 600) == write_story(5, 600)
    assert write_story(5, 600).sightings != write_story(6, 600).sightings


def test_one_combination_in_eight_is_held_out_and_covers_every_colour_and_shape():
    rare = [(c, s) for c in COLOURS for s in SHAPES if held_out(c, s)]
    assert len(rare) == 8 and {c for c, _ in rare} == set(COLOURS) and {s for _, s in rare} == set(SHAPES)


def test_training_films_never_show_a_held_out_combination_and_the_others_star_them():
    for story in STORIES:
        rare = [look for look in looks(story) if held_out(*look)]
        assert not rare if story.split == "train" else True
        if story.split == "held-out" and story.seconds == 3600:
            assert len([c for c in story.cast if held_out(c.colour, c.shape)]) >= len(story.cast) // 3


def test_everything_happens_inside_the_film_and_spread_over_it():
    for story in STORIES:
        acts = sorted([*story.sightings, *story.words, *story.photographs], key=lambda act: act.start)
        assert all(0 <= act.start < act.end <= story.seconds for act in acts)
        if story.seconds == 3600:
            assert max(act.end for act in acts) > 0.8 * story.seconds
            assert max(b.start - a.start for a, b in itertools.pairwise(acts)) < 900


def test_stays_of_one_character_are_apart_so_that_counting_them_is_fair():
    for story in STORIES:
        for who in range(len(story.cast)):
            stays = [s for s in story.sightings if s.who == who]
            assert all(b.start - a.end > 8 for a, b in itertools.pairwise(stays))


def test_a_bounce_touches_its_wall_and_nothing_else_does():
    for story in STORIES:
        for seen in story.sightings:
            for second, y, x in seen.path:
                touching = [side for hit, side in seen.bounces if abs(abs(hit - second) - CONTACT) < 1e-9]
                gap = {"top": y, "bottom": 1 - y, "left": x, "right": 16 / 9 - x}
                for side, room in gap.items():
                    assert (room < seen.radius) == (side in touching), (seen, side)


def test_photographs_are_flashed_when_asked_and_nothing_overlaps_them():
    story = write_story(3, 900, photographs=[("cat", 0.0), ("moon", 450.0), ("coins", 899.0)])
    assert [(c.text, c.start, c.end) for c in story.photographs] == [
        ("cat", 0.0, 1.0),
        ("moon", 450.0, 451.0),
        ("coins", 899.0, 900.0),
    ]
    for card in story.photographs:
        assert not any(s.start < card.end and card.start < s.end for s in (*story.sightings, *story.words))


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="train"):
        write_story(0, 600, split="test")
    with pytest.raises(ValueError, match="30 seconds"):
        write_story(0, 5)
