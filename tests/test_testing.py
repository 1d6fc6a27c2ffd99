"""Each law of seefar.testing lets a right part pass and names what is wrong with each kind of wrong one."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch

from seefar.memory import Bank
from seefar.mixers.base import Mixer
from seefar.ops._backend import choose
from seefar.sequence import VisualSequence
from seefar.testing import check_compressor, check_memory, check_op, check_streaming

# Ops: y_n = sum of x up to n, times g; the last sum is the final state.


def right(x, g):
    total = x.cumsum(1)
    return total * g, total[:, -1]


class WrongGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, g):
        ctx.save_for_backward(x, g)
        return right(x, g)

    @staticmethod
    def backward(ctx, dy, dstate):
        x, g = ctx.saved_tensors
        dx = (dy * g).flip(1).cumsum(1).flip(1)  # forgets what the final state hands back
        return dx, (dy * x.cumsum(1)).sum((0, 1))


def reads_fresh_memory(x, g):
    y, state = right(x, g)
    buffer = torch.empty_like(y)
    buffer[:, :64] = y[:, :64]
    return buffer if x.shape[1] <= 64 else torch.cat([buffer[:, :64], y[:, 64:] + 0 * buffer[:, 64:]], 1), state


BACKENDS = {
    "right": right,
    "wrong gradient": WrongGradient.apply,
    "wrong final state": lambda x, g: (right(x, g)[0], x.cumsum(1)[:, -2 if x.shape[1] > 1 else -1]),
    "no final state": lambda x, g: (right(x, g)[0],),
    "detached state": lambda x, g: (right(x, g)[0], right(x, g)[1].detach()),
    "single precision": lambda x, g: tuple(y.double() for y in right(x.float(), g.float())),
    "wrong above 64": lambda x, g: right(torch.cat([x[:, :64], 0 * x[:, 64:]], 1), g),
    "unwritten memory": reads_fresh_memory,
}  # fmt: skip


def inputs(length):
    random = torch.Generator().manual_seed(length)
    return {
        "x": torch.randn(2, length, 3, dtype=torch.float64, generator=random),
        "g": torch.randn(3, dtype=torch.float64, generator=random),
    }


def try_op(name):
    backends = {
        name: SimpleNamespace(run=BACKENDS[name], cannot_run=lambda *_: None),
        "reference": SimpleNamespace(run=right, cannot_run=lambda *_: None),
        "elsewhere": SimpleNamespace(run=None, cannot_run=lambda *_: "needs another machine"),
    }
    check_op(lambda x, g, backend=None: choose("sum", backends, backend, x, g)(x, g), backends, inputs)


def test_a_right_backend_passes():
    try_op("right")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wrong gradient", "gradient of x"),
        ("wrong final state", "output 1"),
        ("no final state", "other outputs or gradients"),
        ("detached state", "gradient of x"),
        ("single precision", "output 0"),
        ("wrong above 64", "N=100"),
        ("unwritten memory", "N=100"),
    ],
)
def test_a_wrong_backend_is_named_with_what_it_got_wrong(name, words):
    with pytest.raises(AssertionError, match=words) as caught:
        try_op(name)
    assert name in str(caught.value)


# Mixers: an exponential mean with one vector of state.


class Mean(Mixer):
    causal, bounded = True, True

    def __init__(self):
        super().__init__()
        self.keep = torch.nn.Parameter(torch.tensor(0.7))

    def forward(self, x, state=None):
        h, ys = torch.zeros_like(x[:, 0]) if state is None else state, []
        for n in range(x.shape[1]):
            h = self.keep * h + x[:, n]
            ys.append(h)
        return torch.stack(ys, 1), h


class IgnoresState(Mean):
    def forward(self, x, state=None):
        return super().forward(x, None)


class PeeksAhead(Mean):
    def forward(self, x, state=None):
        y, h = super().forward(x, state)
        return y + 0.1 * torch.cat([y[:, 1:], 0 * y[:, :1]], 1), h


class PeeksAheadInside(Mean):
    """Looks ahead only where no chunk of the test ends."""

    def forward(self, x, state=None):
        y, h = super().forward(x, state)
        return (y + 0.1 * x[:, -1:] if x.shape[1] == 33 else y), h


class DetachesState(Mean):
    def forward(self, x, state=None):
        return super().forward(x, None if state is None else state.detach())


class DetachesParameter(Mean):
    """The parameter learns in the first chunk only."""

    def forward(self, x, state=None):
        y, h = super().forward(x, state)
        return (y, h) if state is None else (y.detach() + (x - x.detach()), h)


class HidesState(Mean):
    """A right output, but the state that is handed out is not the one after the last token."""

    def forward(self, x, state=None):
        y, h = super().forward(x, None if state is None else state[0])
        return y, (h, x[:, :1].sum(1))


class GrowsState(Mean):
    def forward(self, x, state=None):
        y, h = super().forward(x, None if state is None else state[0])
        return y, (h, torch.cat([x.new_zeros(x.shape[0], 0, x.shape[2]) if state is None else state[1], x], 1))


class DictState(Mean):
    """The wrong state of HidesState, inside of a dict."""

    def forward(self, x, state=None):
        y, h = super().forward(x, None if state is None else state["h"])
        return y, {"h": h, "first": x[:, 0]}


@dataclass
class Held:
    h: torch.Tensor
    first: torch.Tensor


class DataclassState(Mean):
    def forward(self, x, state=None):
        y, h = super().forward(x, None if state is None else state.h)
        return y, Held(h, x[:, 0])


class OpaqueState(Mean):
    def forward(self, x, state=None):
        y, h = super().forward(x, None if state is None else state.h)
        return y, SimpleNamespace(h=h)


X = torch.randn(2, 33, 4, generator=torch.Generator().manual_seed(0))


def test_a_right_mixer_passes():
    check_streaming(Mean(), X)


@pytest.mark.parametrize(
    ("mixer", "words"),
    [
        (IgnoresState, "outputs"),
        (PeeksAhead, "outputs"),
        (PeeksAheadInside, "outputs"),
        (DetachesState, "gradient 0"),
        (DetachesParameter, "gradient"),
        (HidesState, "final state 1"),
        (GrowsState, "state grew from 16 to 272"),
        (DictState, "final state 0"),
        (DataclassState, "final state 1"),
        (OpaqueState, "no tensors can be found in a SimpleNamespace"),
    ],
)
def test_a_wrong_mixer_is_caught(mixer, words):
    with pytest.raises(AssertionError, match=words):
        check_streaming(mixer(), X)


# Compressors: the first `budget` tokens of each row, and the mean of equal runs.


def first(seq, budget, query=None):
    if not isinstance(budget, int) or budget < 1:
        raise ValueError(f"budget must be a positive int, got {budget}")
    return seq.take(torch.arange(len(seq)).expand_as(seq.segment) < budget)


def runs(seq, budget, query=None):
    if not isinstance(budget, int) or budget < 1:
        raise ValueError(f"budget must be a positive int, got {budget}")
    place = torch.arange(len(seq)).expand_as(seq.segment)
    return seq.merge(torch.where(seq.count[:, None] <= budget, place, place * budget // seq.count[:, None]))


def changed(part, **fields):
    def compress(seq, budget, query=None):
        out = part(seq, budget, query)
        return replace(out, **{name: change(out, seq) for name, change in fields.items()})

    return compress


class Counting:
    """Keeps a state between calls."""

    calls = 0

    def __call__(self, seq, budget, query=None):
        self.calls += 1
        out = first(seq, budget, query)
        return out.map(lambda x: x + self.calls)


def loudest_of_batch(seq, budget, query=None):
    size = seq.tokens.norm(dim=-1).mean(0, keepdim=True).expand_as(seq.mass)
    first(seq, budget)
    return seq.take(size.argsort(dim=1, descending=True)[:, :budget])


NOISE = torch.randn(3, 6, 2, 2, 5, generator=torch.Generator().manual_seed(1))
SEQ = VisualSequence.of_grid(NOISE, torch.arange(6) * 0.5)
RAGGED = SEQ.take(torch.arange(24).expand(3, 24) < torch.tensor([[24], [20], [3]]))


def test_right_compressors_pass():
    for seq in (SEQ, RAGGED):
        check_compressor(first, seq, conserves_mass=False)
        check_compressor(runs, seq, conserves_mass=True)


@pytest.mark.parametrize(
    ("compress", "conserves", "words"),
    [
        (lambda seq, budget, query=None: first(seq, budget + 1), False, "budget 1: 2 tokens came out"),
        (first, True, "lost|mass"),
        (changed(runs, mass=lambda out, _: out.mask.float()), True, "mass"),
        (changed(first, mass=lambda out, _: out.mass * 30), False, "mass grew"),
        (changed(first, span=lambda out, _: out.span + 100), False, "start that no source has"),
        (changed(runs, span=lambda out, _: out.span.mean(-1)[..., None].expand(-1, -1, 2)), True, "no source has"),
        (changed(first, box=lambda out, _: out.box * 0.9), False, "bottom that no source has"),
        (changed(first, span=lambda out, _: out.span.flip(1)), False, "time order|no source"),
        (changed(first, segment=lambda out, _: out.segment + 1), False, "films"),
        (loudest_of_batch, False, "the rest of its batch"),
        (changed(first, tokens=lambda out, _: out.tokens - out.tokens.mean(0)), False, "the rest of its batch"),
        (Counting(), False, "a second call"),
        (lambda seq, budget, query=None: first(seq, max(1, int(budget))), False, "budget 0 was accepted"),
    ],
)  # fmt: skip
def test_a_wrong_compressor_is_caught(compress, conserves, words):
    with pytest.raises(AssertionError, match=words):
        check_compressor(compress, SEQ, conserves_mass=conserves)


def test_an_error_about_a_budget_must_name_it():
    def mute(seq, budget, query=None):
        if not isinstance(budget, int) or budget < 1:
            raise ValueError("no")
        return first(seq, budget)

    with pytest.raises(AssertionError, match="should name the budget"):
        check_compressor(mute, SEQ, conserves_mass=False)


def test_mixing_the_films_of_a_packed_row_is_caught():
    films = replace(SEQ, segment=(torch.arange(24) >= 12).long().expand(3, 24), grid=None)

    def mixes(seq, budget, query=None):
        return runs(replace(seq, segment=torch.zeros_like(seq.segment)), budget, query)

    with pytest.raises(AssertionError, match="mass of each film"):
        check_compressor(mixes, films, conserves_mass=True, budgets=(2, 7))


# Memories: banks with one defect each.


class ForgetsSave(Bank):
    def load(self, path):
        super().load(path)
        self._store = self._store._replace(mass=torch.ones_like(self._store.mass))


class ForgetsAll(Bank):
    def load(self, path):
        self.reset()


class ExceedsCapacity(Bank):
    def write(self, seq):
        self.capacity += self.slots
        super().write(seq)
        self.capacity -= self.slots


class ExceedsBudget(Bank):
    def read(self, budget, query=None):
        return super().read(max(budget, 5), query)


class KeepsAfterReset(Bank):
    def reset(self):
        if not hasattr(self, "seen"):
            super().reset()
        self._last = torch.full((2,), -1.0, dtype=torch.float64)


class ReadingChanges(Bank):
    def read(self, budget, query=None):
        out = super().read(budget, query)
        if budget < self.capacity:
            self._store = self._reduced(self._store, 1)
        return out


class TakesAnything(Bank):
    def write(self, seq):
        self._last = torch.full((len(seq.tokens),), -torch.inf, dtype=torch.float64)
        super().write(seq)


class InventsMass(Bank):
    def read(self, budget, query=None):
        out = super().read(budget, query)
        return replace(out, mass=out.mass * 2)


class InventsTime(Bank):
    def read(self, budget, query=None):
        out = super().read(budget, query)
        return replace(out, span=out.span + 0.01)


def stream():
    x = torch.randn(2, 12, 2, 2, 3, generator=torch.Generator().manual_seed(2))
    film = VisualSequence.of_grid(x, torch.arange(12) * 0.4)
    return [film.take(torch.arange(48).expand(2, 48) // 12 == i) for i in range(4)]


def test_a_right_memory_passes(tmp_path):
    check_memory(lambda: Bank(16, 4), stream(), tmp_path)


@pytest.mark.parametrize(
    ("memory", "words"),
    [
        (ForgetsSave, "save, load and go on"),
        (ForgetsAll, "save, load and go on"),
        (ExceedsCapacity, "20 tokens held, capacity is 16"),
        (ExceedsBudget, "above its budget of 1"),
        (KeepsAfterReset, "reset and the same stream again"),
        (ReadingChanges, "save, load and go on"),
        (TakesAnything, "should ask for reset"),
        (InventsMass, "mass grew"),
        (InventsTime, "a time nobody wrote"),
    ],
)
def test_a_wrong_memory_is_caught(memory, words, tmp_path):
    with pytest.raises(AssertionError, match=words):
        check_memory(lambda: memory(16, 4), stream(), tmp_path)
