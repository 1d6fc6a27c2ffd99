import pytest
import torch

from seefar.synthetic.recall import IGNORED, associative_recall, rewriting_recall

MAKERS = {"once": associative_recall, "again": rewriting_recall}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize(("key_size", "value_size"), [(1, 1), (3, 2)])
def test_a_segment_is_a_pair_and_the_last_one_is_the_question(make, key_size, value_size):
    task = make(4, 6, key_size=key_size, value_size=value_size, seed=0)
    assert task.segment == key_size + value_size + 2
    for b, row in enumerate(task.ids.tolist()):
        pieces = [row[i : i + task.segment] for i in range(0, len(row), task.segment)]
        assert len(pieces) == 7
        for p, piece in enumerate(pieces[:-1]):
            assert piece == [*task.keys[b, p].tolist(), 100, *task.values[b, p].tolist(), 102]
        asked = int(task.asked[b])
        assert pieces[-1] == [*task.keys[b, asked].tolist(), 101, *task.values[b, asked].tolist(), 102]
        label = task.labels[b].tolist()
        assert label[-value_size - 1 :] == row[-value_size - 1 :] and set(label[: -value_size - 1]) == {IGNORED}


def test_keys_come_once_or_again_and_the_last_value_is_asked_for():
    once = associative_recall(20, 16, key_size=1, seed=0)
    assert (once.keys[..., 0].sort(1).values == torch.arange(16)).all() and once.latest.all()
    again = rewriting_recall(100, 40, key_size=1, seed=0)
    for b, keys in enumerate(again.keys[..., 0].tolist()):
        last = {key: p for p, key in enumerate(keys)}
        assert torch.nonzero(again.latest[b]).flatten().tolist() == sorted(last.values())
        assert int(again.asked[b]) in last.values()
    early = (again.asked < 20).double().mean()
    assert 0.02 < early < 0.4  # keys are asked alike often, not places


def test_longer_keys_are_all_of_them_possible():
    task = associative_recall(1, 256, key_size=2, seed=0)
    assert len({tuple(key) for key in task.keys[0].tolist()}) == 256


def test_exact_match_needs_the_value_and_the_end():
    task = associative_recall(3, 2, key_size=1, value_size=2, seed=0)
    logits = torch.nn.functional.one_hot(task.ids, 103).double().roll(-1, 1)
    assert task.found_by(logits).all() and task.found_by(logits[:, -4:]).all()
    for place in (-4, -3, -2):
        wrong = logits.clone()
        wrong[1, place] = 0
        assert task.found_by(wrong).tolist() == [True, False, True]
    wrong = logits.clone()
    wrong[:, -5] = 0  # what comes before the answer does not count
    assert task.found_by(wrong).all()


def test_a_seed_decides_everything():
    for make in MAKERS.values():
        first, again, other = (make(2, 8, key_size=2, seed=seed).ids for seed in (5, 5, 6))
        assert torch.equal(first, again) and not torch.equal(first, other)


def test_more_pairs_than_keys_are_refused_with_what_to_use():
    with pytest.raises(ValueError, match=r"17 pairs need as many keys.*are 16; use a larger key_size, or rewriting"):
        associative_recall(1, 17, key_size=1, seed=0)
    assert rewriting_recall(1, 17, key_size=1, seed=0).ids.shape == (1, 72)
    for make in MAKERS.values():
        with pytest.raises(ValueError, match="pairs=0"):
            make(1, 0, key_size=1, seed=0)
