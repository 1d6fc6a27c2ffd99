"""What a summariser says is judged word for word; bytes and searches are those of the index itself."""

import torch

from seefar.evals import long_summary as part
from seefar.memory import Inverted, VectorIndex
from seefar.papers._card import Scale
from seefar.synthetic.keywords import keyword_summary

SMOKE = Scale("smoke", (0,))


class Says:
    """Stands for a model: says what it is told, behind a start."""

    def __init__(self, words):
        self.words = words

    def generate(self, ids, max_new_tokens):
        self.seen = ids.shape[1]
        start = torch.ones(len(ids), 1, dtype=torch.int64)
        return torch.cat([start, self.words[: len(ids), :max_new_tokens]], 1)


def test_a_summary_is_right_only_if_every_word_is():
    _, summary = keyword_summary(4, 20, 3, seed=1_000_000)
    wrong = summary.clone()
    wrong[1, 2] += 1
    for words, want in ((summary, 1.0), (wrong, 0.75), (summary[:, :2], 0.0)):
        arm = part.exact(lambda seed, words=words: Says(words), lambda model: model.generate, 3, tests=4)
        assert arm(0)(20) == want


def test_truncated_reads_the_beginning_alone():
    model = Says(torch.zeros(2, 9, dtype=torch.int64))
    part.truncated(7)(model)(torch.zeros(2, 50, dtype=torch.int64), max_new_tokens=3)
    assert model.seen == 7


def test_training_lowers_the_loss_and_each_seed_is_trained_once():
    model_of = part.summariser(12, 2, SMOKE, steps=60, dim=16, batch=16, lr=1e-2)
    model = model_of(3)
    assert model_of(3) is model and not model.training
    ids, summary = keyword_summary(64, 12, 2, seed=5)
    with torch.no_grad():
        assert model(input_ids=ids, labels=summary).loss < 3.0  # 3.5 without any idea which word of 32


def test_bytes_of_a_token_are_those_that_grow():
    def read():
        return lambda ids, max_new_tokens: torch.zeros(ids.shape[1], 10) + 1  # two at once

    assert part.bytes_per_token(read, 2, (100, 300)) == 80.0


def test_what_heads_asked_is_searched_again_and_shares_are_counted():
    model = part.summariser(12, 2, SMOKE, steps=1, dim=8)(0)
    flat, lists = (part.index_of(model, 90, 2, k=5, inverted=how) for how in (None, Inverted(6, 1, strays=0.0)))
    assert lists.built == 90 and flat.built == 0 and len(flat.asked) == 2 * 3  # layers by words
    assert torch.equal(flat.take(torch.arange(90)), lists.take(torch.arange(90)))
    want, got = (part.searches(index, 5)() for index in (flat, lists))
    plain = [(queries @ flat.take(torch.arange(90)).mT).topk(5).indices for queries in flat.asked]
    assert all(torch.equal(found.numbers_Qk, numbers) for found, numbers in zip(want, plain, strict=True))
    found, best = (torch.cat([each.numbers_Qk for each in some]).tolist() for some in (got, want))
    counted = [len(set(a) & set(b)) / 5 for a, b in zip(found, best, strict=True)]
    assert part.found_share(want, want) == 1.0
    assert abs(part.found_share(got, want) - sum(counted) / len(counted)) < 1e-12
    assert isinstance(flat, VectorIndex) and part.found_share(got, want) < 1
