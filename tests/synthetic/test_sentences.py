import re
from itertools import islice

import pytest
import torch
from torch.nn.functional import one_hot

from seefar.synthetic.sentences import CHARACTERS, WORDS_OF_TEXT, passkey, phonebook, sentences, texts
from seefar.synthetic.shapes import COLOURS, SHAPES, held_out

UNITS = pytest.mark.parametrize("units", [CHARACTERS, WORDS_OF_TEXT], ids=["characters", "words"])


def test_questions_are_answered_by_what_was_told_in_the_same_world():
    lines = list(islice(sentences(3), 13))
    told, asked = lines[:9], lines[9:]
    facts = {}
    for line in told:
        look = re.search(rf"({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})", line)
        what = "goes" if " goes " in line else "carries" if "carries" in line or "written" in line else "comes"
        facts[what, look[0]] = re.search(r"\d", line)[0]
    assert len(facts) == 9
    for line in asked:
        look = re.search(rf"({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})", line)[0]
        what = "carries" if "digit" in line else "goes" if " go " in line or "last" in line else "comes"
        assert line.endswith(f"? {facts[what, look]} . ")


def test_looks_kept_for_tests_are_never_told_of_in_training():
    kept = {f"{c} {s}" for c in COLOURS for s in SHAPES if held_out(c, s)}
    assert kept
    for split, expected in (("train", False), ("held-out", True)):
        text = "".join(islice(sentences(0, split), 2000))
        assert any(look in text for look in kept) == expected


@UNITS
def test_texts_read_back_and_go_by_their_seed(units):
    ids = texts(3, 120, units=units, seed=4)
    assert ids.shape == (3, 120) and ids.max() < len(units)
    assert torch.equal(ids, texts(3, 120, units=units, seed=4))
    assert not torch.equal(ids, texts(3, 120, units=units, seed=5))
    written = units.decode(ids[0])
    assert units.encode(written)[:120] == ids[0].tolist()
    assert not set(CHARACTERS.decode(texts(1, 50)[0])) - set(CHARACTERS.names)


def test_an_unknown_unit_is_named():
    with pytest.raises(ValueError, match="'Z' is none of the"):
        CHARACTERS.encode("Z")


@UNITS
def test_the_passkey_is_told_at_its_depth_and_asked_for_at_the_end(units):
    found = passkey(4, 400, digits=3, depth=0.5, asks=2, units=units, seed=1)
    assert found.ids.shape == (4, 400)
    for ids, answers, last in zip(found.ids, found.answers, found.last, strict=True):
        text = units.decode(ids).replace(" ", "")
        told = re.findall(r"thepasskeyis(\d{3})\.", text)
        asked = re.findall(r"whatisthepasskey\?(\d{3})\.", text)
        assert len(told) == 1 and asked == told * 2 and text.endswith(f"?{told[0]}.")
        assert 0.3 < text.index("thepasskeyis") / len(text) < 0.7
        assert answers.sum() == 6 and last.sum() == 3
        assert "".join(units.names[i] for i in ids[last]) == told[0]


def test_the_phone_book_asks_for_one_of_its_names():
    found = phonebook(5, 8, digits=2, seed=2)
    for ids, last in zip(found.ids, found.last, strict=True):
        text = WORDS_OF_TEXT.decode(ids)
        book = {who: number.replace(" ", "") for who, number in re.findall(r"(\w+ \w+) has the number (\d \d)", text)}
        who, number = re.search(r"which number has (\w+ \w+) \? (\d \d)", text).groups()
        assert len(book) == 8 and book[who] == number.replace(" ", "")
        assert [WORDS_OF_TEXT.names[i] for i in ids[last]] == number.split()


def test_an_answer_counts_only_if_every_digit_is_likeliest():
    found = phonebook(2, 3, digits=2, seed=0)
    logits = one_hot(found.ids, len(WORDS_OF_TEXT)).float().roll(-1, 1)
    assert found.found_by(logits).tolist() == [True, True]
    place = int(found.last[1].nonzero()[0, 0])
    logits[1, place - 1] = 0
    assert found.found_by(logits).tolist() == [True, False]


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="'train' or 'held-out', got 'test'"):
        next(sentences(0, "test"))
    with pytest.raises(ValueError, match=r"depth lies in \[0, 1\], got 2"):
        passkey(1, 100, depth=2)
    with pytest.raises(ValueError, match="no room for 1 questions; give at least"):
        passkey(1, 5)
    with pytest.raises(ValueError, match="got 1000 entries"):
        phonebook(1, 1000)
