"""The laws that every part of seefar obeys, as checks that anyone can run on a part of their own.

Each check raises an AssertionError that names what disagreed; none of them returns anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from seefar.sequence import VisualSequence


def check_op(
    op: Callable[..., Any],
    backends: Mapping[str, ModuleType],
    inputs: Callable[[int], dict[str, Tensor]],
    *,
    lengths: Sequence[int] = (1, 63, 64, 100),
    tol: float = 1e-10,
    **options: Any,
) -> None:
    """Every backend that can run agrees with ``reference`` in outputs, final states and all gradients, in float64.

    Args:
        op: the public function; takes the inputs by name, and ``backend=``.
        backends: its table of backends, ``reference`` among them.
        inputs: N -> the op's tensor arguments for N tokens, float64; those that require grad are checked for gradients.
        options: further keyword arguments for every call.
    """
    for length in lengths:
        wanted: list[tuple[str, Tensor]] | None = None
        for name in ["reference", *(other for other in backends if other != "reference")]:
            tensors = inputs(length) if wanted is None else {key: value.detach().clone() for key, value in given.items()}
            if wanted is None:
                given = {key: value.detach().clone() for key, value in tensors.items()}
                learns = {key for key, value in tensors.items() if value.is_floating_point()}
            for key in learns:
                tensors[key] = tensors[key].detach().requires_grad_()
            if backends[name].cannot_run(*tensors.values()) is not None:
                continue
            with _poisoned_buffers():
                outputs = _tensors(op(**tensors, backend=name, **options))
                generator = torch.Generator().manual_seed(0)
                loss = sum(
                    (out * torch.randn(out.shape, generator=generator, dtype=out.dtype)).sum()
                    for out in outputs
                    if out.requires_grad
                )
                gradients = torch.autograd.grad(loss, [tensors[key] for key in sorted(learns)], allow_unused=True)
            named = [(f"output {i}", out) for i, out in enumerate(outputs)]
            named += [(f"gradient of {key}", grad) for key, grad in zip(sorted(learns), gradients, strict=True) if grad is not None]
            if wanted is None:
                wanted = [(what, value.detach()) for what, value in named]
                continue
            assert [what for what, _ in named] == [what for what, _ in wanted], f"{name}, N={length}: other gradients exist"
            for (what, got), (_, want) in zip(named, wanted, strict=True):
                _close(got.detach(), want, tol, f"{name} against reference, N={length}: {what}")


def check_streaming(mixer: torch.nn.Module, x: Tensor, *, tol: float = 1e-10) -> None:
    """One call, any split, and one token at a time give the same outputs, gradients (of x and of every parameter) and final state."""
    mixer, x = mixer.double(), x.detach().double().requires_grad_()
    weights = [x, *(p for p in mixer.parameters() if p.requires_grad)]
    whole, end = mixer(x)
    wanted = torch.autograd.grad(_probe(whole, end), weights, allow_unused=True)
    for size in sorted({1, 7, max(1, x.shape[1] - 1)}):
        outs, state = [], None
        for piece in x.split(size, 1):
            out, state = mixer(piece, state)
            outs.append(out)
        pieces = torch.cat(outs, 1)
        _close(pieces, whole, tol, f"chunks of {size}: outputs")
        for i, (got, want) in enumerate(zip(_tensors(state), _tensors(end), strict=True)):
            _close(got, want, tol, f"chunks of {size}: final state {i}")
        gradients = torch.autograd.grad(_probe(pieces, state), weights, allow_unused=True)
        for i, (grad, want_grad) in enumerate(zip(gradients, wanted, strict=True)):
            assert (grad is None) == (want_grad is None), f"chunks of {size}: gradient {i} exists in one form only"
            if grad is not None and want_grad is not None:
                _close(grad, want_grad, tol, f"chunks of {size}: gradient {i} (0 is x)")
    later = x.detach().clone()
    later[:, -1] += 1
    _close(mixer(later)[0][:, :-1], whole[:, :-1], tol, "a later token changed an earlier output")


def check_compressor(
    compress: Callable[..., VisualSequence],
    seq: VisualSequence,
    *,
    query: Tensor | None = None,
    budgets: Sequence[int] = (1, 2, 7, 16, 10_000),
    conserves_mass: bool,
) -> None:
    """Never above budget, provenance kept, and each row as if it were alone in its batch.

    Args:
        conserves_mass: the part merges or pools (all mass stays); otherwise it selects (mass may only shrink).
    """
    for budget in budgets:
        out = compress(seq, budget, query=query)
        assert int(out.count.max()) <= budget, f"budget {budget}: {int(out.count.max())} tokens came out"
        _check_order(out)
        before, after = (s.mass.masked_fill(~s.mask, 0).double().sum(1) for s in (seq, out))
        if conserves_mass:
            _close(after, before, 1e-4, f"budget {budget}: mass")
        else:
            assert (after <= before + 1e-4).all(), f"budget {budget}: mass grew from {before} to {after}"
        _check_hull(seq, out)
        rows = torch.arange(len(seq.tokens) - 1, -1, -1)
        flipped = compress(_rows(seq, rows), budget, query=None if query is None else query[rows])
        for row in range(len(rows)):
            n = int(out.count[row])
            twin = len(rows) - 1 - row
            assert int(flipped.count[twin]) == n, f"budget {budget}: row {row} depends on its place in the batch"
            _close(flipped.tokens[twin, :n], out.tokens[row, :n], 1e-5, f"budget {budget}: row {row} depends on its place in the batch")
    for bad in (0, -3, 2.5):
        try:
            compress(seq, bad, query=query)
        except ValueError as error:
            assert "budget" in str(error), f"the error about budget {bad} should name the budget: {error}"
        else:
            raise AssertionError(f"budget {bad!r} was accepted")


def check_memory(make: Callable[[], Any], stream: Sequence[VisualSequence], folder: Path, *, query: Tensor | None = None) -> None:
    """Bounded over the whole stream, reads obey the budget, reset forgets, and save plus load goes on as if never stopped."""
    memory = make()
    half = len(stream) // 2
    for i, piece in enumerate(stream):
        if i == half:
            memory.save(folder / "memory.safetensors")
        memory.write(piece)
        held = memory.read(10**9, query=query)
        assert int(held.count.max()) <= memory.capacity, f"{int(held.count.max())} tokens held, capacity is {memory.capacity}"
        _check_order(held)
    for budget in (1, 5, memory.capacity):
        assert int(memory.read(budget, query=query).count.max()) <= budget, f"read above its budget of {budget}"
    end = memory.read(memory.capacity, query=query)
    resumed = make()
    resumed.load(folder / "memory.safetensors")
    for piece in stream[half:]:
        resumed.write(piece)
    _same(resumed.read(memory.capacity, query=query), end, "save, load and go on")
    memory.reset()
    for piece in stream:
        memory.write(piece)
    _same(memory.read(memory.capacity, query=query), end, "reset and the same stream again")


def _check_order(seq: VisualSequence) -> None:
    assert (seq.mask.to(torch.int8).diff(dim=1) <= 0).all(), "padding stands before a real token"
    both = seq.mask[:, 1:] & seq.mask[:, :-1] & (seq.segment[:, 1:] == seq.segment[:, :-1])
    assert (seq.span[..., 0].diff(dim=1)[both] >= 0).all(), "time order is broken"
    assert (seq.span[..., 1] >= seq.span[..., 0]).all(), "a span ends before it begins"
    assert (seq.mass[seq.mask] > 0).all() and (seq.mass[~seq.mask] == 0).all(), "mass must be positive on tokens, 0 on padding"


def _check_hull(seq: VisualSequence, out: VisualSequence) -> None:
    """No token claims a time or place outside of what its row was given."""
    for row in range(len(seq.tokens)):
        was, now = seq.span[row][seq.mask[row]], out.span[row][out.mask[row]]
        if len(now):
            assert now.min() >= was.min() and now.max() <= was.max(), f"row {row}: span outside its sources"
    assert (out.box[out.mask] >= 0).all() and (out.box[out.mask] <= 1).all(), "box outside the picture"


def _rows(seq: VisualSequence, rows: Tensor) -> VisualSequence:
    return VisualSequence(seq.tokens[rows], seq.span[rows], seq.box[rows], seq.mass[rows], seq.segment[rows], seq.mask[rows], seq.grid)


def _same(got: VisualSequence, want: VisualSequence, what: str) -> None:
    for name in ("tokens", "span", "box", "mass", "segment", "mask"):
        a, b = getattr(got, name), getattr(want, name)
        assert torch.equal(a, b), f"{what}: {name} differs"


def _probe(out: Tensor, state: Any) -> Tensor:
    """A loss that reads the outputs and the final state, so that a detached state shows in the gradients."""
    loss = out.square().sum()
    for tensor in _tensors(state):
        if tensor.requires_grad:
            loss = loss + tensor.square().sum()
    return loss


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, tuple | list):
        return [tensor for item in value for tensor in _tensors(item)]
    return []


def _close(got: Tensor, want: Tensor, tol: float, what: str) -> None:
    torch.testing.assert_close(got, want, rtol=tol, atol=tol, msg=lambda text: f"{what}\n{text}")


class _poisoned_buffers:
    """Fresh buffers hold NaN inside, so that reading one before writing it shows."""

    def __enter__(self) -> None:
        self.before = (torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory)
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = True

    def __exit__(self, *_: object) -> None:
        torch.use_deterministic_algorithms(self.before[0])
        torch.utils.deterministic.fill_uninitialized_memory = self.before[1]
