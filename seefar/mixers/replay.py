"""Memory replay back-propagation: the full gradient of a recurrence, for the activations of one step of it.

B batch, N tokens, D channels; T steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_map, tree_unflatten
from torch.utils.checkpoint import get_device_states, set_device_states

from seefar.mixers.base import Mixer

Step = Callable[[Any, Any], tuple[Any, Any]]
"""(piece, state) -> (outputs, next state): tensors, plain numbers, None, or tuples, lists, dictionaries of them."""


def replay(step: Step, pieces: Sequence[Any], state: Any, weights: Iterable[Tensor]) -> tuple[list[Any], Any]:
    """Run ``step`` over all pieces; backwards each step is run once more, so that there is never more than one graph.

    (y_t, M_{t+1}) = step(x_t, M_t),    t = 1 ... T

    The way forward keeps each M_t and the random numbers' state before each step, and no graph. Backwards, for
    t = T ... 1, step t is run again from M_t and differentiated, given the gradients of y_t and of M_{t+1}. Values and
    gradients are those of a plain loop, dropout included, for the state, the pieces and the weights; the price is one
    more pass forward. Second derivatives are not to be had.

    What is held: the activations of one step, T states, the pieces and all outputs. A step should therefore give its
    loss rather than what that is made of.

    Args:
        step: depends on nothing but its piece, its state, ``weights`` and torch's random numbers, and changes none.
        pieces: T of them, each as ``step`` takes it.
        state: before the first.
        weights: everything else that learns: the parameters of the module that is run.

    Returns:
        The outputs of every step, and the state after the last.

    Raises:
        TypeError: a state or an output holds something else than ``Step`` says.
        ValueError: no piece; backwards, a step uses a parameter that is not among ``weights``.
        RuntimeError: a step changed its state in place; backwards, a step gave another state than on the way forward.

    Reference: Wu et al., Memformer, arXiv 2010.06891. Differs: the way forward computes the outputs as well, so that
    the whole is one function to autograd; in the paper they are left to the way back.
    """
    if not pieces:
        raise ValueError("replay: needs at least one piece, got none")
    learnt = [weight for weight in weights if weight.requires_grad]
    given, spec = tree_flatten((list(pieces), state))
    _check_leaves(given)
    if not torch.is_grad_enabled() or not any(_learns(leaf) for leaf in (*learnt, *given)):
        outs = []
        for piece in pieces:
            out, state = step(piece, state)
            outs.append(out)
        return outs, state
    run = _Run(step, learnt, spec)
    shown = _Replay.apply(run, *learnt, *given)
    assert run.shown is not None
    outs, state = tree_unflatten(shown, run.shown)
    return outs, state


class Replayed(Mixer):
    """Any causal mixer of bounded state, with the activations of ``tokens`` tokens while it learns.

    Outputs, gradients and state are the mixer's own; see ``replay``. Pieces are cut from the first token of each call.
    The outputs (B, N, D) are held, what made them is not. ``Truncated`` saves the same memory by giving up gradients.

    Args:
        mixer: causal and bounded.
        tokens: of a piece.

    Raises:
        ValueError: the mixer is not causal, or its state grows, or no token in a piece.
    """

    def __init__(self, mixer: Mixer, tokens: int) -> None:
        super().__init__()
        if not (mixer.causal and mixer.bounded):
            why = "its state grows, and one is kept for each piece" if mixer.causal else "it is not causal"
            raise ValueError(f"Replayed: {type(mixer).__name__} cannot be run piece by piece, {why}")
        if tokens < 1:
            raise ValueError(f"Replayed: a piece holds at least one token, got {tokens}")
        self.causal, self.bounded = True, True
        self.mixer, self.tokens = mixer, tokens

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Mix x (B, N, D), going on from ``state``."""
        outs, state = replay(self.mixer, x.split(self.tokens, 1), state, self.mixer.parameters())
        return torch.cat(outs, 1), state


@dataclass
class _Run:
    """A recurrence, the tree of what it is given, (pieces, state), and of what it shows, (outputs, state)."""

    step: Step
    weights: list[Tensor]
    given: TreeSpec
    shown: TreeSpec | None = None


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: _Run, *tensors: Any) -> tuple[Any, ...]:
        pieces, state = tree_unflatten(tensors[len(run.weights) :], run.given)
        ctx.run, ctx.states, ctx.random, ctx.autocast = run, [state], [], _autocast(tensors)
        outs: list[Any] = []
        for piece in pieces:
            ctx.random.append(_Random.now((piece, state), ctx.random[-1] if ctx.random else None))
            before = [leaf._version for leaf in tree_leaves(state) if isinstance(leaf, Tensor)]
            out, later = run.step(piece, state)
            if before != [leaf._version for leaf in tree_leaves(state) if isinstance(leaf, Tensor)]:
                raise RuntimeError(f"replay: step {len(outs)} changed its state in place; let it return a new one")
            outs.append(out)
            # detached, so that the last one, which is also shown, does not hold on to this very context
            state = tree_map(_detached, later)
            ctx.states.append(state)
        shown, run.shown = tree_flatten((outs, state))
        _check_leaves(shown)
        # autograd itself notices weights and pieces that are changed before the way back
        ctx.save_for_backward(*(leaf for leaf in tensors if isinstance(leaf, Tensor)))
        ctx.plain = [None if isinstance(leaf, Tensor) else (leaf,) for leaf in tensors]
        ctx.set_materialize_grads(False)
        return tuple(_detached(leaf) for leaf in shown)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        run: _Run = ctx.run
        saved = iter(ctx.saved_tensors)
        tensors = [next(saved) if plain is None else plain[0] for plain in ctx.plain]
        pieces = tree_unflatten(tensors[len(run.weights) :], run.given)[0]
        assert run.shown is not None
        toward_outs, toward = tree_unflatten(list(grads), run.shown)
        learn_pieces, learn = tree_unflatten(ctx.needs_input_grad[1 + len(run.weights) :], run.given)
        totals: list[Tensor | None] = [None] * len(run.weights)
        toward_pieces: list[Any] = [None] * len(pieces)
        for t in reversed(range(len(pieces))):
            piece = tree_map(_alone, pieces[t], learn_pieces[t])
            state = tree_map(_alone, ctx.states[t], learn if t == 0 else tree_map(_is_continuous, ctx.states[t]))
            with ctx.random[t].again(), ctx.autocast(), torch.enable_grad():
                result = run.step(piece, state)
            _check_same(t, result[1], ctx.states[t + 1])
            if t == len(pieces) - 1:
                _check_known(result, run.weights, t)
            toward_pieces[t], toward = _step_back(result, (toward_outs[t], toward), (piece, state), run.weights, totals)
        return None, *totals, *tree_leaves((toward_pieces, toward))


@dataclass(frozen=True)
class _Random:
    """The states of the random numbers before a step, on the CPU and on the devices it is given tensors of."""

    cpu: Tensor
    devices: list[int]
    states: list[Tensor]

    @classmethod
    def now(cls, given: Any, last: _Random | None) -> _Random:
        """One object as long as no number is drawn, so that T steps without dropout keep one state."""
        devices, states = get_device_states(*tree_leaves(given))
        new = cls(torch.get_rng_state(), devices, states)
        if last is None or last.devices != devices:
            return new
        pairs = zip((last.cpu, *last.states), (new.cpu, *states), strict=True)
        return last if all(torch.equal(a, b) for a, b in pairs) else new

    @contextmanager
    def again(self) -> Iterator[None]:
        """Within it the same numbers are drawn; after it those that would have come."""
        with torch.random.fork_rng(devices=self.devices):
            torch.set_rng_state(self.cpu)
            set_device_states(self.devices, self.states)
            yield


def _autocast(tensors: Sequence[Any]) -> Callable[[], ExitStack]:
    """Enters the autocast that is on now."""
    kinds = {"cpu"} | {leaf.device.type for leaf in tensors if isinstance(leaf, Tensor)}
    now = [(kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)) for kind in sorted(kinds)]

    def enter() -> ExitStack:
        stack = ExitStack()
        for kind, dtype, enabled in now:
            stack.enter_context(torch.autocast(kind, dtype=dtype, enabled=enabled))
        return stack

    return enter


def _step_back(result: Any, toward: Any, given: Any, weights: list[Tensor], totals: list[Tensor | None]) -> Any:
    """The gradients of what one step was given, from those of its result; those of the weights go into totals."""
    pairs = zip(tree_leaves(result), tree_leaves(toward), strict=True)
    roots = [(leaf, grad) for leaf, grad in pairs if grad is not None and _learns(leaf)]
    leaves, spec = tree_flatten(given)
    wanted = [*weights, *(leaf for leaf in leaves if _learns(leaf))]
    found: Sequence[Tensor | None] = [None] * len(wanted)
    if roots:
        outs, grads = zip(*roots, strict=True)
        found = torch.autograd.grad(outs, wanted, grads, allow_unused=True)
    for i, more in enumerate(found[: len(weights)]):
        total = totals[i]
        if more is not None:
            # first a copy: autograd may give one tensor to several weights, and what comes next is added in place
            totals[i] = more.clone() if total is None else total.add_(more)
    rest = iter(found[len(weights) :])
    return tree_unflatten([next(rest) if _learns(leaf) else None for leaf in leaves], spec)


def _learns(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.requires_grad


def _detached(leaf: Any) -> Any:
    return leaf.detach() if isinstance(leaf, Tensor) else leaf


def _is_continuous(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and (leaf.is_floating_point() or leaf.is_complex())


def _alone(leaf: Any, learns: bool) -> Any:
    """The leaf as the beginning of a graph of its own."""
    return leaf.detach().requires_grad_(learns) if isinstance(leaf, Tensor) else leaf


def _check_leaves(leaves: Sequence[Any]) -> None:
    for leaf in leaves:
        if leaf is not None and not isinstance(leaf, Tensor | int | float | str):
            raise TypeError(
                f"replay: pieces, states and outputs hold tensors, plain values, None, or tuples, lists and "
                f"dictionaries of them, got a {type(leaf).__name__}, whose tensors would get no gradient"
            )


def _check_same(t: int, later: Any, kept: Any) -> None:
    for now, was in zip(tree_leaves(later), tree_leaves(kept), strict=True):
        if not isinstance(was, Tensor):
            continue
        tol = torch.finfo(was.dtype).eps ** 0.5 if _is_continuous(was) else 0.0
        if not torch.allclose(now.detach(), was, rtol=tol, atol=tol, equal_nan=True):
            apart = float((now.detach() - was).abs().max())
            raise RuntimeError(
                f"replay: run again, step {t} gave a state that differs by up to {apart:.3g}; it must depend on "
                "its piece, its state, the weights and torch's random numbers alone, and nobody may change a state"
            )


def _check_known(result: Any, weights: list[Tensor], t: int) -> None:
    """No parameter is used that isn't among the weights: its gradient would be lost without a word."""
    known, seen = {id(weight) for weight in weights}, set[Any]()
    todo = [leaf.grad_fn for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        used = getattr(node, "variable", None)
        if isinstance(used, torch.nn.Parameter) and id(used) not in known:
            raise ValueError(
                f"replay: step {t} uses a parameter {tuple(used.shape)} that is not among the weights it was given, "
                "so it would get no gradient; give it all parameters of what it runs"
            )
        todo += [parent for parent, _ in node.next_functions]
