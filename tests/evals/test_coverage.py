"""A simulated reader knows what it looked at and nothing else."""

import numpy as np
import pytest

from seefar.evals.coverage import remembered, replies, sees, some, stills, symbols
from seefar.memory.bank import Bank
from seefar.synthetic.referring import Choice, Evidence, write_clip
from seefar.synthetic.story import Card, Character, Sighting, Story
from seefar.training.worlds import scene

STAY = Evidence((10.0, 20.0), (10.0, 20.0))
LINE = Evidence((10.0, 20.0), (15.0, 17.0))


def test_a_frame_shows_what_is_on_screen_at_its_second():
    assert sees(stills([0, 12]), [[STAY]]) and not sees(stills([0, 21]), [[STAY]])
    assert sees(stills([16]), [[LINE]]) and not sees(stills([12]), [[LINE]])


def test_every_group_is_needed_and_one_member_is_enough():
    other = Evidence((40.0, 50.0), (40.0, 50.0))
    assert sees(stills([12]), [[STAY, other]]) and not sees(stills([12]), [[STAY], [other]])
    assert sees(stills([12, 45]), [[STAY], [other]])


def test_a_memory_shows_what_fills_at_least_half_of_it():
    for end, shown in ((30.0, True), (31.0, False)):
        assert sees(np.array([[10.0, end]]), [[STAY]]) is shown
    assert sees(np.array([[10.0, 20.0]]), [[LINE]])
    assert not sees(np.array([[10.0, 14.0]]), [[LINE]])


def test_replies_are_right_where_the_evidence_was_seen_and_even_guesses_elsewhere():
    asked = {str(n): Choice("S2A", "", "?", ("w", "x", "y", "z"), n % 4, ((STAY,),)) for n in range(800)}
    right = {key: f"{'ABCD'[choice.answer]}. {'wxyz'[choice.answer]}" for key, choice in asked.items()}
    assert replies(asked, stills([15])) == right
    blind = replies(asked, stills([1]))
    assert 0.2 < sum(blind[key] == right[key] for key in asked) / 800 < 0.3
    assert blind == replies(asked, {key: stills([2, 3]) for key in asked})  # guesses belong to the question
    assert blind != replies(asked, stills([1]), seed=1)


def test_a_reader_of_eight_takes_eight_of_many_in_their_order():
    spans = stills(range(64))
    few = some(spans, 8, 0, 1)
    assert len(few) == 8 and (np.diff(few[:, 0]) > 0).all()
    assert not np.array_equal(few, some(spans, 8, 0, 2))
    assert some(spans[:5], 8, 0) is not None and len(some(spans[:5], 8, 0)) == 5


def test_symbols_are_the_scenes():
    story = write_clip(5, 60)
    seq = symbols([story, write_clip(6, 60)])
    assert seq.tokens.shape == (2, 60, 96) and (seq.tokens[..., -1] == 1).all()
    for second in range(0, 60, 7):
        at = scene(story, float(second))
        assert seq.tokens[0, second].sum() == 1 + len({(t.colour, t.shape) for t in at.things}) + len(at.cards)
        assert seq.span[0, second].tolist() == [second, second]
    with pytest.raises(ValueError, match="one length"):
        symbols([story, write_clip(6, 90)])


def test_the_memory_keeps_events_apart_and_joins_what_does_not_change():
    path = ((0.0, 0.5, 0.5), (600.0, 0.5, 0.5))
    stays = tuple(Sighting(who, 100.0 * who + 50, 100.0 * who + 60, 0.2, path) for who in range(3))
    cast = tuple(Character(colour, "star", None, 0) for colour in ("red", "blue", "green"))
    story = Story(0, 300.0, "held-out", cast, stays, (Card("meadow", 200.0, 205.0, 0),), ())
    (spans,) = remembered([story], Bank(9, 1))
    inner = [[50, 59], [150, 159], [200, 204], [250, 259]]
    assert len(spans) == 9 and all(span in spans.tolist() for span in inner)
    assert len(remembered([story], Bank(4, 1), rate=0.2)[0]) == 4
