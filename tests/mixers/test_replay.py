"""The full gradient of a recurrence for the activations of one step, against a plain loop."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from seefar.evals.protocols import peak_bytes
from seefar.mixers import LSTM, RNN, Attention, GatedRecurrence, Mamba, Replayed
from seefar.mixers.replay import replay
from seefar.testing import check_streaming


class Cell(nn.Module):
    """A step with a nested state, a count that is no tensor, outputs that share the state, and dropout on demand."""

    def __init__(self, dim=5, dropout=0.0):
        super().__init__()
        self.over, self.into = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.first = nn.Parameter(torch.randn(dim))
        self.drop = nn.Dropout(dropout)

    def forward(self, piece, state):
        if state is None:
            state = self.first.expand(len(piece), -1), (piece.new_zeros(len(piece), 1), 0)
        m, (slow, count) = state
        m = (self.over(self.drop(m)) + self.into(piece)).tanh()
        slow = 0.9 * slow + m.mean(1, keepdim=True)
        return {"m": m, "loss": m.square().sum() * slow.sum(), "none": None}, (m, (slow, count + 1))


def loop(step, pieces, state, _):
    outs = []
    for piece in pieces:
        out, state = step(piece, state)
        outs.append(out)
    return outs, state


def measured(run, cell, pieces, state, seed=0):
    """All values and all gradients of one way to run the cell, and the random number that is drawn after it."""
    cell.zero_grad()
    pieces = [piece.detach().requires_grad_() for piece in pieces]
    begin = None if state is None else (state[0].detach().requires_grad_(), state[1])
    torch.manual_seed(seed)
    outs, (m, (slow, count)) = run(cell, pieces, begin, cell.parameters())
    assert count == len(pieces) + (0 if state is None else 7) and outs[0]["none"] is None
    loss = sum((t + 1) * out["loss"] for t, out in enumerate(outs)) + outs[1]["m"].sum() + (m * slow).sum()
    loss.backward()
    drawn = torch.rand(())
    gradients = [p.grad for p in (*cell.parameters(), *pieces, *(() if begin is None else begin[:1]))]
    return [loss.detach(), m.detach(), slow.detach(), *(out["m"].detach() for out in outs), drawn, *gradients]


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("begun", [False, True])
def test_values_gradients_and_random_numbers_are_those_of_a_plain_loop(dropout, begun):
    torch.manual_seed(0)
    cell, pieces = Cell(dropout=dropout).double(), torch.randn(6, 3, 5).double().unbind()
    state = (torch.randn(3, 5).double(), (torch.randn(3, 1).double(), 7)) if begun else None
    for got, want in zip(*(measured(run, cell, pieces, state) for run in (replay, loop)), strict=True):
        if want is None:  # nothing begins at the learnt state where one is given
            assert got is None
        else:
            torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_gradients_of_several_runs_add_up_and_frozen_weights_get_none():
    torch.manual_seed(0)
    cell, pieces = Cell().double(), torch.randn(4, 3, 5).double().unbind()
    cell.into.weight.requires_grad_(False)
    grads = []
    for run in (replay, loop):
        cell.zero_grad()
        for half in (pieces[:2], pieces[2:]):
            sum(out["loss"] for out in run(cell, half, None, cell.parameters())[0]).backward()
        grads.append([p.grad for p in cell.parameters() if p.requires_grad])
        assert cell.into.weight.grad is None
    for got, want in zip(*grads, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_a_stream_in_two_calls_has_the_gradient_of_one():
    torch.manual_seed(0)
    cell, pieces = Cell().double(), torch.randn(6, 3, 5).double().unbind()
    _, (want, _) = loop(cell, pieces, None, None)
    _, half = replay(cell, pieces[:3], None, cell.parameters())
    _, (got, _) = replay(cell, pieces[3:], half, cell.parameters())
    ways = (torch.autograd.grad(m.square().sum(), cell.over.weight)[0] for m in (got, want))
    torch.testing.assert_close(*ways, rtol=1e-12, atol=1e-12)


def test_gradients_are_those_of_torchs_own_checkpoint_around_each_step():
    torch.manual_seed(0)
    cell, pieces = Cell(dropout=0.5).double(), torch.randn(5, 3, 5).double().unbind()

    def checkpointed(step, pieces, state, _):
        return loop(lambda piece, state: checkpoint(step, piece, state, use_reentrant=False), pieces, state, _)

    for got, want in zip(*(measured(run, cell, pieces, None) for run in (replay, checkpointed)), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_under_autocast_a_step_runs_alike_both_times():
    torch.manual_seed(0)
    cell, pieces = Cell(), torch.randn(4, 3, 5).unbind()

    def run(way):
        with torch.autocast("cpu", torch.bfloat16):
            outs, _ = way(cell, pieces, None, cell.parameters())
        assert outs[0]["m"].dtype == torch.bfloat16
        return torch.autograd.grad(sum(out["loss"].float() for out in outs), [*cell.parameters()])

    for got, want in zip(run(replay), run(loop), strict=True):
        torch.testing.assert_close(got, want, rtol=0.02, atol=0.02)


def wide(run, steps, dropout):
    """Peak bytes of a recurrence whose step has many activations beside a small state, forward and backward."""
    torch.manual_seed(0)
    layers = [(nn.Linear(16, 16), nn.Tanh(), nn.Dropout(dropout)) for _ in range(4)]
    net = nn.Sequential(*(part for layer in layers for part in layer))
    pieces = [torch.randn(256, 16) for _ in range(steps)]

    def step(piece, state):
        y = net(piece + (0 if state is None else state))
        return y.square().mean(), y.mean(0)

    def call():
        torch.stack(run(step, pieces, None, net.parameters())[0]).sum().backward()
        net.zero_grad()

    return peak_bytes(call)


def test_activations_are_those_of_one_step_however_many_there_are():
    few, many, loop_few, loop_many = (wide(run, steps, 0.0) for run in (replay, loop) for steps in (4, 32))
    assert many <= 1.1 * few
    assert loop_many >= 6 * loop_few >= 12 * few
    assert wide(replay, 32, 0.1) - 28 * torch.get_rng_state().nbytes <= 1.1 * wide(replay, 4, 0.1)


def test_without_gradients_nothing_is_kept():
    cell, pieces = Cell(), torch.randn(3, 2, 5).unbind()
    with torch.no_grad():
        outs, (m, _) = replay(cell, pieces, None, cell.parameters())
    assert not m.requires_grad and torch.equal(m, outs[-1]["m"])
    frozen = Cell().requires_grad_(False)
    assert not replay(frozen, pieces, None, frozen.parameters())[1][0].requires_grad


@pytest.mark.parametrize("mixer", [RNN(4, cell=LSTM), GatedRecurrence(4), Mamba(4)], ids=lambda m: type(m).__name__)
def test_a_replayed_mixer_streams_and_has_the_gradients_of_the_mixer(mixer):
    torch.manual_seed(0)
    check_streaming(Replayed(mixer, 5), x := torch.randn(2, 17, 4))
    x = x.double().requires_grad_()
    (whole, _), (pieces, _) = mixer(x), Replayed(mixer, 5)(x)
    torch.testing.assert_close(pieces, whole, rtol=1e-12, atol=1e-12)
    ways = (torch.autograd.grad(y.sin().sum(), [x, *mixer.parameters()]) for y in (pieces, whole))
    for got, want in zip(*ways, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_the_law_of_streaming_notices_a_broken_mixer_inside(broken):
    with pytest.raises(AssertionError):
        check_streaming(Replayed(broken(GatedRecurrence(4)), 5), torch.randn(2, 17, 4))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Replayed(RNN(4, bidirectional=True), 5), "it is not causal"),
        (lambda: Replayed(Attention(4, 2), 5), "its state grows"),
        (lambda: Replayed(GatedRecurrence(4), 0), "got 0"),
        (lambda: replay(Cell(), [], None, []), "got none"),
    ],
)
def test_what_cannot_be_replayed_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_a_step_that_changes_its_state_in_place_is_refused():
    weight = torch.ones(3, requires_grad=True)

    def step(piece, state):
        state.mul_(0.5)
        return (weight * piece * state).sum(), state

    with pytest.raises(RuntimeError, match="step 0 changed its state in place"):
        replay(step, torch.randn(2, 3).unbind(), torch.ones(3), [weight])


def test_a_step_that_is_not_the_same_twice_is_refused():
    weight, calls = torch.ones(3, requires_grad=True), []

    def step(piece, state):
        calls.append(1)
        return (weight * piece).sum(), weight * piece + len(calls)

    outs, _ = replay(step, torch.randn(2, 3).unbind(), None, [weight])
    with pytest.raises(RuntimeError, match="run again, step 1 gave a state that differs by up to 1"):
        sum(outs).backward()


def test_a_weight_that_is_not_named_is_refused_rather_than_left_without_a_gradient():
    cell = Cell()
    outs, _ = replay(cell, torch.randn(2, 3, 5).unbind(), None, cell.over.parameters())
    with pytest.raises(ValueError, match=r"step 1 uses a parameter \(5, 5\) that is not among the weights"):
        outs[1]["loss"].backward()


def test_weights_changed_between_the_ways_are_noticed():
    cell = Cell()
    outs, _ = replay(cell, torch.randn(2, 3, 5).unbind(), None, cell.parameters())
    with torch.no_grad():
        cell.over.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        outs[1]["loss"].backward()


def test_a_state_whose_tensors_cannot_be_found_is_refused():
    @dataclass
    class Opaque:
        m: torch.Tensor

    cell = Cell()
    with pytest.raises(TypeError, match="got a Opaque, whose tensors would get no gradient"):
        replay(lambda piece, state: (piece, Opaque(piece)), [torch.ones(1, 5)], None, cell.parameters())
