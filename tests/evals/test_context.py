import torch
from torch import nn

from seefar.evals.context import by_context, far_symbol, last_bits
from seefar.evals.protocols import sweep
from seefar.papers._card import Scale
from seefar.synthetic.remote import ASK, MARK


class Count(nn.Module):
    """Classes by how many ones it is given; it tells what it saw."""

    seen = []

    def __init__(self):
        super().__init__()
        self.scores = nn.Linear(1, 2)

    def forward(self, x):
        self.seen.append(tuple(x.shape))
        return self.scores(x.double().mean(1, keepdim=True).float() - 0.5), None


def first_bit(count, seed):
    """All bits of the first half are the label, all others a coin's."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(2, (count,), generator=generator)
    noise = torch.randint(2, (count, 8), generator=generator)
    return torch.cat([label[:, None].expand(-1, 8), noise], 1), label


def test_a_context_that_reaches_the_answer_is_worth_it_and_a_short_one_is_not():
    Count.seen.clear()
    arm = by_context(Count, first_bit, Scale("smoke", (0,)), steps=60, tokens=256, tests=400, lr=0.1)
    found = sweep("context", {"count": arm}, (4, 16), Scale("smoke", (0,)))["count"]
    assert found[16].mean > 0.9 and 0.4 < found[4].mean < 0.6
    assert set(Count.seen) == {(128, 2), (64, 4), (400, 4), (32, 8), (16, 16), (400, 16)}


def test_tasks_tell_what_counts():
    ids, symbol = far_symbol(50, 3, length=20)
    marked = (ids == MARK).nonzero()
    assert ids.shape == (50, 20) and len(marked) == 50 and (ids[:, -1] == ASK).all()
    assert torch.equal(ids[marked[:, 0], marked[:, 1] + 1], symbol)
    bits, more = last_bits(50, 3, length=20)
    assert torch.equal(more, (bits[:, -5:].sum(1) > 2).long())
