"""Search over pages of words: the first appearance, the right line of the page, and chances that fall with distance."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np

from seefar.vlm.passages import Page, Passages, Said, content_words, subject


class Bag:
    """A stand-in for the sentence encoder that knows words and no meanings."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        vectors = np.zeros((len(texts), 512), np.float32)
        for k, text in enumerate(texts):
            for word in re.findall(r"[a-z]+", text.lower()):
                vectors[k, zlib.crc32(word.encode()) % 512] += 1
            vectors[k] /= np.linalg.norm(vectors[k]) + 1e-9
        return vectors


def page(texts: Sequence[str], starts: Sequence[float], end: float = 1000.0) -> Page:
    """A page whose first line is its heading, in larger letters."""
    return Page(
        tuple(
            Said(text, start, end, top=0.1 + 0.12 * k, left=0.1, height=0.06 if k == 0 else 0.04)
            for k, (text, start) in enumerate(zip(texts, starts, strict=True))
        )
    )


BEES = page(["Caring for honey bees", "A hive holds one queen", "Mites weaken the colony"], [50, 60, 70])
TIDES = page(["Ocean tides", "The moon pulls the water", "Spring tides come at full moon"], [200, 200, 200])


def test_the_line_that_answers_gives_the_moment_and_its_page_the_context():
    hit = Passages([BEES, TIDES], Bag()).search("Which mites weaken the colony of bees?")[0]
    assert hit.page is BEES and hit.start == 70
    assert "Mites weaken the colony" in " ".join(line.text for line in hit.quoted)


def test_words_that_come_back_later_are_answered_by_their_first_appearance():
    again = page([line.text for line in BEES.lines], [900, 900, 900])
    for pages in ([BEES, TIDES, again], [again, TIDES, BEES]):
        hits = Passages(pages, Bag()).search("When do mites weaken the colony?")
        assert hits[0].start == 70
        assert hits[1].start == 900


def test_a_line_that_is_wrapped_elsewhere_when_it_comes_back_is_the_same_line():
    later = page(["Caring for honey bees", "Mites weaken the"], [900, 900])
    hits = Passages([BEES, TIDES, later], Bag()).search("Where do mites weaken the bees?")
    assert [hit.start for hit in hits[:2]] == [70, 900]


def test_what_was_said_before_a_cue_tells_what_it_is_about():
    intro, detail = Said("Let us turn to bees.", 10, 14), Said("Mites weaken them in autumn.", 14, 18)
    pages = [Page((intro,)), Page((detail,), intro.text), TIDES]
    assert Passages(pages, Bag()).search("When do mites weaken the bees?")[0].start == 14
    assert Passages(pages, Bag()).search("When does she turn to bees?")[0].start == 10


def test_a_chance_is_higher_for_words_that_are_there():
    passages = Passages([BEES, TIDES], Bag())
    there, absent = (passages.search(question)[0].chance for question in ("moon pulls water", "guillotine of the king"))
    assert there > 0.9 and absent < 0.1


def test_a_wrong_letter_does_not_hide_a_rare_word():
    misread = page(["Trade", "Gunpowder traveiled west"], [10, 10])
    features = Passages([misread, TIDES], Bag()).features("When has gunpowder travelled?")
    assert features[0, 1] > 0.9 and features[1, 1] == 0


def test_wrapped_lines_are_one_stretch_and_separate_points_are_not():
    lines = [
        Said("Nothing escapes from inside", 5, 9, top=0.30, left=0.1, height=0.05),
        Said("the event horizon", 5, 9, top=0.36, left=0.12, height=0.05),
        Said("Matter shines in X-rays", 5, 9, top=0.50, left=0.1, height=0.05),
    ]
    assert Page(tuple(lines)).groups() == [(0, 1), (0, 2), (1, 2), (2, 3)]


def test_an_empty_film_has_nothing_to_find():
    assert Passages([], Bag()).search("anything") == []


def test_words_that_only_ask_are_not_searched_for():
    assert subject("When does he talk about bee hives?") == "bee hives"
    assert subject("When is the royal ceremony shown?") == "the royal ceremony"
    assert subject("How deep is the sea?") == "How deep is the sea?"
    assert content_words("When does the speaker show the bakeries?") == {"bakery"}
