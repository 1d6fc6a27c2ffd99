"""Every key, against what an observer of the scenes finds who knows no story."""

import re
from itertools import pairwise

import numpy as np
import pytest

from seefar.synthetic.referring import TOPICS, narrate, refer, trim, write_clip
from seefar.synthetic.story import write_story
from seefar.training.worlds import scene

SEEDS = range(8)


def asked(seconds):
    for seed in SEEDS:
        story = write_clip(seed, seconds)
        said = narrate(story)
        yield from ((story, said, choice) for choice in refer(story, said, per_topic=3))


def looks(story, second):
    return {f"{t.colour} {t.shape}" for t in scene(story, second).things}


@pytest.mark.parametrize("seconds", [15, 60, 600])
def test_options_differ_and_hold_the_answer_once_at_every_place(seconds):
    places = []
    for _, _, choice in asked(seconds):
        assert 2 <= len(choice.options) == len(set(choice.options)) <= 5
        assert choice.question.startswith(choice.query) and choice.question.endswith("?")
        places.append(choice.answer)
    assert set(places) == {0, 1, 2, 3, 4} and places.count(0) < len(places) / 2


@pytest.mark.parametrize("seconds", [15, 60, 600])
def test_what_is_asked_of_a_line_is_what_is_seen_while_it_is_said(seconds):
    met = 0
    for story, said, choice in asked(seconds):
        if choice.category not in ("T2O", "T2A", "T3O"):
            continue
        met += 1
        text = re.search("'(.*)'", choice.query)[1]
        (line,) = [line for line in said if line.text == text]
        answer = choice.options[choice.answer]
        (((shown, at),),) = choice.evidence
        if choice.category == "T3O":
            seconds_after = np.arange(line.end, story.seconds, 0.1)
            before = looks(story, line.end)
            for second in seconds_after:
                now = looks(story, float(second))
                if now - before:
                    assert now - before == {answer}
                    assert shown[0] == pytest.approx(second, abs=0.11)
                    break
                before = now
            continue
        for second in np.arange(line.start, line.end, 0.1):
            (seen,) = looks(story, float(second))
            assert seen == answer if choice.category == "T2O" else seen.startswith(answer + " ")
        assert at == (line.start, line.end) and shown[0] <= at[0] <= at[1] <= shown[1]
    assert met > 5


def test_every_topic_comes_up_and_its_evidence_shows_what_is_asked():
    met = set()
    for story, _, choice in asked(600):
        met.add(choice.category)
        for group in choice.evidence:
            for shown, at in group:
                assert 0 <= shown[0] < shown[1] <= story.seconds and at[0] < at[1]
                assert scene(story, sum(shown) / 2).things
        if choice.category == "SOS":
            assert len(choice.evidence) == int(choice.options[choice.answer])
    assert met == {*TOPICS.values(), "T2O", "T2A", "T3O"}


def test_a_trimmed_story_shows_what_the_whole_one_showed():
    story = write_story(4, 120)
    part = trim(story, 30.0, 60.0)
    cut = [s for s in story.sightings if s.recolour is not None]
    for second in np.arange(1.05, 59, 0.5):
        whole = scene(story, 30.0 + float(second))
        mine = scene(part, float(second))
        if not any(s.start <= 30 + second < s.end for s in cut):
            assert {t.shape for t in mine.things} <= {t.shape for t in whole.things}
            for thing in mine.things:
                (same,) = [t for t in whole.things if (t.colour, t.shape) == (thing.colour, thing.shape)]
                assert thing.centre == pytest.approx(same.centre)
    assert part.sightings and part.seconds == 60
    for seen in part.sightings:
        assert seen.start >= 0 and seen.end <= 60 and seen.end - seen.start >= 1


def test_lines_tell_nothing_and_go_on_around_the_film():
    story = write_story(4, 120)
    said = narrate(story)
    assert said[0].start < 0 and said[-1].end > 120
    assert len({line.text for line in said}) == len(said)
    assert any(line.end - line.start < 1 for line in said)
    assert all(a.end < b.start for a, b in pairwise(said))
    assert narrate(story) == said != narrate(story, 1)


def test_clips_that_show_nothing_are_refused():
    with pytest.raises(ValueError, match="at least 5 seconds"):
        write_clip(0, 3)
    with pytest.raises(ValueError, match="do not lie in a story of 60"):
        trim(write_story(0, 60), 50, 20)
