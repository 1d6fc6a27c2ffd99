"""A summary holds the word of each topic in order, wherever it stood; nothing else says anything."""

import pytest
import torch

from seefar.synthetic.keywords import END, FILLER, WORDS, keyword_summary, vocabulary


def test_each_topic_is_named_once_and_the_summary_names_them_in_order():
    ids, summary = keyword_summary(50, 30, 4, seed=0)
    assert ids.min() >= 3 and ids.max() < vocabulary(4) == 3 + 4 * WORDS + FILLER
    topic = (ids - 3) // WORDS
    for row, kind, want in zip(ids, topic, summary, strict=True):
        assert [row[kind == t].tolist() for t in range(4)] == [[word] for word in want[:4].tolist()]
    assert (summary[:, 4] == END).all()


def test_topics_stand_anywhere_and_are_named_by_any_word():
    ids, summary = keyword_summary(2000, 12, 2, seed=1)
    where = (ids == summary[:, :1]).int().argmax(1)
    assert torch.bincount(where, minlength=12).min() > 100
    assert len(summary[:, 0].unique()) == WORDS


def test_a_seed_decides_everything_and_what_cannot_be_is_refused():
    assert all(torch.equal(*pair) for pair in zip(*(keyword_summary(3, 9, 2, seed=4) for _ in range(2)), strict=True))
    with pytest.raises(ValueError, match="5 topics take a text of 5 words"):
        keyword_summary(1, 4, 5, seed=0)
