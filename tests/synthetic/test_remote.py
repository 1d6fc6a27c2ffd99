import pytest
import torch

from seefar.synthetic.recall import IGNORED
from seefar.synthetic.remote import ASK, MARK, SYMBOLS, remote_copy


@pytest.mark.parametrize(("segments", "segment"), [(1, 4), (1, 9), (3, 4), (5, 8)])
def test_the_answer_stands_behind_the_only_mark_in_the_first_segment(segments, segment):
    ids, labels = remote_copy(50, segments, segment, seed=0)
    assert ids.shape == labels.shape == (50, segments * segment)
    for row, label in zip(ids.tolist(), labels.tolist(), strict=True):
        at = row.index(MARK)
        assert row.count(MARK) == row.count(ASK) == 1 and at + 1 < min(segment, len(row) - 2)
        assert row[-2] == ASK and row[-1] == row[at + 1] == label[-1] < SYMBOLS
        assert set(label[:-1]) == {IGNORED}
    assert len(set(ids[:, -1].tolist())) > 10  # all symbols are asked for


def test_a_seed_gives_one_and_the_same_text():
    assert torch.equal(remote_copy(3, 2, 8, seed=1)[0], remote_copy(3, 2, 8, seed=1)[0])
    assert not torch.equal(remote_copy(3, 2, 8, seed=1)[0], remote_copy(3, 2, 8, seed=2)[0])


@pytest.mark.parametrize("sizes", [(0, 1, 8), (1, 0, 8), (1, 1, 3)])
def test_texts_too_short_for_a_question_are_refused(sizes):
    with pytest.raises(ValueError, match="4 tokens in each"):
        remote_copy(*sizes, seed=0)
