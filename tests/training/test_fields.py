"""A line of fields reads as the authors' does: what is in brackets is not learnt, joined fields are one text."""

import pytest

from seefar.training.fields import written

RECORD = {"system": "be", "question": "ab", "answer": "cd"}


def letters(text):
    return [ord(c) for c in text]


@pytest.mark.parametrize(
    ("line", "text", "learnt"),
    [
        ("answer", "^cd$", "0111"),
        ("[question],answer", "^abcd$", "000111"),
        ("[system+question],answer", "^be abcd$", "000000111"),
        ("[question],<|bos|>,answer", "^ab^cd$", "0001111"),
        ("[question],answer,<|eos|>,[<|bos|>],answer", "^abcd$^cd$", "0001110111"),
    ],
)
def test_a_line_says_what_is_read_and_what_is_learnt(line, text, learnt):
    example = written(line, RECORD, letters, begin=ord("^"), end=ord("$"))
    assert "".join(map(chr, example.ids.tolist())) == text
    assert "".join(str(int(answer)) for answer in example.answer) == learnt


def test_fields_can_be_joined_by_what_one_likes_and_must_be_there():
    joined = written("question+answer", RECORD, letters, begin=0, end=1, separator="--")
    assert joined.ids.tolist() == [0, *letters("ab--cd"), 1]
    for line in ("[queston]", "question+x", ""):
        with pytest.raises(ValueError, match="is no field of the record; it has"):
            written(line, RECORD, letters, begin=0, end=1)
