import pytest
import torch
from torch.nn.functional import one_hot

from seefar.synthetic.multi_query import multi_query_recall


def test_every_key_is_asked_for_once_and_its_value_is_the_one_told():
    data = multi_query_recall(20, 40, 6, keys=9, values=5, seed=3)
    for ids, answers in zip(data.ids.tolist(), data.answers.tolist(), strict=True):
        told = dict(zip(ids[:12:2], ids[1:12:2], strict=True))
        assert len(told) == 6 and all(1 <= k <= 9 < v <= 14 for k, v in told.items())
        asked = {k: v for k, v in zip(ids[12:], answers[12:], strict=True) if v != -100}
        assert asked == told
        assert sum(word != 0 for word in ids[12:]) == 6 and set(answers[:12]) == {-100}


def test_places_of_questions_and_the_order_of_keys_differ_from_text_to_text():
    data = multi_query_recall(50, 40, 6, seed=0)
    assert (data.answers >= 0).float()[:, 12:].mean(0).std() < 0.15
    assert len({tuple(row) for row in data.ids.tolist()}) == 50
    assert torch.equal(data.ids, multi_query_recall(50, 40, 6, seed=0).ids)


def test_the_share_found_counts_questions_alone():
    data = multi_query_recall(2, 12, 4, keys=4, values=3, seed=1)
    logits = one_hot(data.answers.clamp(min=0), 8).double()
    assert data.found_by(logits) == 1
    logits[0] = 0
    assert data.found_by(logits) == 0.5


def test_too_many_pairs_are_refused():
    with pytest.raises(ValueError, match="a length of 30 at least"):
        multi_query_recall(1, 29, 10, seed=0)
    with pytest.raises(ValueError, match="keys=4"):
        multi_query_recall(1, 100, 5, keys=4, seed=0)
