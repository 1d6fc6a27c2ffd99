"""The laws that every part of seefar obeys, as checks that anyone can run on a part of their own.

Each check raises an AssertionError that names what disagreed; none of them returns anything.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.utils import deterministic

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
        inputs: N -> the op's tensor arguments for N tokens, float64; all floating ones are checked for gradients.
        lengths: the N to try; keep odd ones among them.
        tol: relative and absolute tolerance.
        options: further keyword arguments for every call.
    """
    for length in lengths:
        wanted: list[tuple[str, Tensor]] | None = None
        given = {key: value.detach().clone() for key, value in inputs(length).items()}
        learns = {key for key, value in given.items() if value.is_floating_point()}
        for name in ["reference", *(other for other in backends if other != "reference")]:
            tensors = {key: value.clone().requires_grad_(key in learns) for key, value in given.items()}
            if backends[name].cannot_run(*tensors.values()) is not None:
                continue
            with _poisoned_buffers():
                outputs = _tensors(op(**tensors, backend=name, **options))
                generator = torch.Generator().manual_seed(0)
                losses = [
                    (out * torch.randn(out.shape, generator=generator, dtype=out.dtype).to(out.device)).sum()
                    for out in outputs
                    if out.requires_grad
                ]
                learnt = sorted(learns) if losses else []
                gradients = torch.autograd.grad(losses, [tensors[key] for key in learnt], allow_unused=True)
            named = [(f"output {i}", out) for i, out in enumerate(outputs)]
            pairs = zip(learnt, gradients, strict=True)
            named += [(f"gradient of {key}", grad) for key, grad in pairs if grad is not None]
            if wanted is None:
                wanted = [(what, value.detach()) for what, value in named]
                continue
            assert [what for what, _ in named] == [what for what, _ in wanted], (
                f"{name}, N={length}: other outputs or gradients exist, {[what for what, _ in named]}"
            )
            for (what, got), (_, want) in zip(named, wanted, strict=True):
                _close(got.detach(), want, tol, f"{name} against reference, N={length}: {what}")


def check_streaming(mixer: torch.nn.Module, x: Tensor, *, tol: float = 1e-10) -> None:
    """One call, any split and one token at a time give equal outputs, gradients and final state; nothing looks ahead.

    Gradients are those of x and of every parameter. A mixer that is declared ``bounded`` must also hold no more
    after many tokens than after few.
    """
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
    if getattr(mixer, "bounded", False):
        sizes = [sum(tensor.numel() for tensor in _tensors(mixer(x[:, :n])[1])) for n in (1, x.shape[1])]
        assert sizes[0] == sizes[1], f"declared bounded, but the state grew from {sizes[0]} to {sizes[1]} numbers"
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
    """Never above budget, provenance kept, each row as if alone in its batch, each call as if it were the first.

    Args:
        compress: the part, called as ``compress(seq, budget, query=query)``.
        seq: what it is tried on: two rows or more, so that one can leak into another, and tokens that differ.
        query: (B, Q, D) or (B, D), for a part that needs one.
        budgets: the budgets to try; for a part that keeps whole frames, from one frame up.
        conserves_mass: the part merges or pools (all mass stays); otherwise it selects (mass may only shrink).
    """
    assert len(seq.tokens) > 1, "give at least two rows, or nothing can leak from one into another"
    for budget in budgets:
        out = compress(seq, budget, query=query)
        assert int(out.count.max()) <= budget, f"budget {budget}: {int(out.count.max())} tokens came out"
        _check_order(out)
        if conserves_mass:
            before, after = (_film_mass(s, int(seq.segment.max()) + 1) for s in (seq, out))
            _close(after, before, 1e-5, f"budget {budget}: mass of each film")
        else:
            _check_mass(seq, out, f"budget {budget}")
        _check_hull(seq, out, whole=conserves_mass)
        _same(compress(seq, budget, query=query), out, f"budget {budget}: a second call")
        for row in range(len(seq.tokens)):
            what, n = f"budget {budget}: row {row} depends on the rest of its batch", int(out.count[row])
            alone = compress(_row(seq, row), budget, query=None if query is None else query[row : row + 1])
            assert int(alone.count) == n, what
            for name in ("tokens", "span", "box", "mass"):
                _close(getattr(alone, name)[0, :n], getattr(out, name)[row, :n], 1e-5, f"{what}: {name}")
    for bad in (0, -3, 2.5):
        try:
            compress(seq, bad, query=query)
        except ValueError as error:
            assert "budget" in str(error), f"the error about budget {bad} should name the budget: {error}"
        else:
            raise AssertionError(f"budget {bad!r} was accepted")


def check_memory(
    make: Callable[[], Any], stream: Sequence[VisualSequence], folder: Path, *, query: Tensor | None = None
) -> None:
    """Bounded over the whole stream, reads obey the budget, reset forgets, save plus load goes on as if never stopped.

    It also holds nothing that was not written (mass, time), and refuses a stream that begins again without a reset.

    Args:
        make: gives a fresh memory, each time the same.
        stream: the pieces to write, in time order; enough to overflow the capacity.
        folder: where to save.
        query: given to every read.
    """
    memory = make()
    half = len(stream) // 2
    for i, piece in enumerate(stream):
        if i == half:
            memory.save(folder / "memory.safetensors")
        memory.write(piece)
        held, written = memory.read(10**9, query=query), VisualSequence.cat(list(stream[: i + 1]))
        n = int(held.count.max())
        assert n <= memory.capacity, f"{n} tokens held, capacity is {memory.capacity}"
        _check_order(held)
        _check_inside(written, held)
        _check_mass(written, held, f"after piece {i}")
    for budget in (1, 5, memory.capacity):
        some = memory.read(budget, query=query)
        assert int(some.count.max()) <= budget, f"read above its budget of {budget}: {int(some.count.max())} tokens"
        _check_order(some)
    end = memory.read(memory.capacity, query=query)
    resumed = make()
    resumed.load(folder / "memory.safetensors")
    for piece in stream[half:]:
        resumed.write(piece)
    _same(resumed.read(memory.capacity, query=query), end, "save, load and go on")
    if (stream[0].span[:, 0, 0] < stream[-1].span[:, -1, 0]).any():
        try:
            memory.write(stream[0])
        except ValueError:
            _same(memory.read(memory.capacity, query=query), end, "a refused write")
        else:
            raise AssertionError("a stream that began again was taken for the same one; it should ask for reset()")
    memory.reset()
    for piece in stream:
        memory.write(piece)
    _same(memory.read(memory.capacity, query=query), end, "reset and the same stream again")


def check_paper(module: ModuleType, scale: Any, *, longest: int = 120) -> None:
    """A paper file keeps its shape, and its experiment runs.

    Its card is complete; it holds no loop, no ``nn.Module``, no optimiser, no import of another paper and at most
    ``longest`` lines; a system has ``build``; ``claim(scale)`` gives finite figures, bars and a control arm.

    Args:
        module: of the paper.
        scale: what its claim is run at, best the smallest there is.
        longest: lines of the file.
    """
    assert module.__file__ is not None
    source = Path(module.__file__).read_text(encoding="utf-8")
    name = module.__name__.rpartition(".")[2]
    assert source.count("\n") <= longest, f"{name}: {source.count(chr(10))} lines, at most {longest}"
    assert (module.__doc__ or "").strip(), f"{name}: says nothing of what the paper does"
    empty = [field.name for field in fields(module.CARD) if getattr(module.CARD, field.name) in ("", 0)]
    assert not empty, f"{name}: its card lacks {empty}"
    for node in ast.walk(ast.parse(source)):
        where = f"{name}, line {getattr(node, 'lineno', 0)}"
        assert not isinstance(node, ast.For | ast.While | ast.AsyncFor), f"{where}: a loop; protocols and fit have them"
        if isinstance(node, ast.ClassDef):
            assert not any("Module" in ast.unparse(base) for base in node.bases), f"{where}: a network; rooms have them"
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("seefar.papers"):
            assert (node.module or "").split(".")[2:][:1] == ["_card"], f"{where}: imports another paper"
    verdict = module.claim(scale)
    assert verdict.checks, f"{name}: its claim has no bar"
    assert verdict.controls, f"{name}: its claim has no control arm that must not pass"
    json.dumps(dict(verdict.figures), allow_nan=False)  # finite, and plain values


def _check_order(seq: VisualSequence) -> None:
    assert (seq.mask.to(torch.int8).diff(dim=1) <= 0).all(), "padding stands before a real token"
    both = seq.mask[:, 1:] & seq.mask[:, :-1] & (seq.segment[:, 1:] == seq.segment[:, :-1])
    assert (seq.span[..., 0].diff(dim=1)[both] >= 0).all(), "time order is broken"
    assert (seq.span[..., 1] >= seq.span[..., 0]).all(), "a span ends before it begins"
    assert (seq.mass[seq.mask] > 0).all() and (seq.mass[~seq.mask] == 0).all(), (
        "mass must be positive on tokens, 0 on padding"
    )


def _check_hull(seq: VisualSequence, out: VisualSequence, *, whole: bool) -> None:
    """Each edge of a span or box is one of a source of the same film; with ``whole`` the outermost ones all remain."""
    for row in range(len(seq.tokens)):
        films = out.segment[row][out.mask[row]].unique().tolist()
        known = seq.segment[row][seq.mask[row]].unique().tolist()
        assert films == known if whole else set(films) <= set(known), f"row {row}: films {films} out of {known}"
        for film in films:
            was, now = (
                torch.cat([s.span[row], s.box[row].double()], -1)[s.mask[row] & (s.segment[row] == film)]
                for s in (seq, out)
            )
            for edge, column in (("start", 0), ("end", 1), ("top", 2), ("left", 3), ("bottom", 4), ("right", 5)):
                a, b = was[:, column], now[:, column]
                assert torch.isin(b, a).all(), f"row {row}: a token has a {edge} that no source has"
                lost = a.min() < b.min() if edge in ("start", "top", "left") else a.max() > b.max()
                assert not (whole and lost), f"row {row}: the outermost {edge} is lost"


def _check_inside(written: VisualSequence, held: VisualSequence) -> None:
    for row in range(len(written.tokens)):
        was, now = written.span[row][written.mask[row]], held.span[row][held.mask[row]]
        assert not len(now) or (now.min() >= was.min() and now.max() <= was.max()), f"row {row}: a time nobody wrote"
    assert (held.box[held.mask] >= 0).all() and (held.box[held.mask] <= 1).all(), "a box outside of the picture"


def _film_mass(seq: VisualSequence, films: int) -> Tensor:
    """(B, films) mass of each film of each row."""
    film = seq.segment.masked_fill(~seq.mask, 0)
    assert films > int(film.max()), f"there is no film {int(film.max())}"
    mass = seq.mass.masked_fill(~seq.mask, 0).double()
    return mass.new_zeros(len(mass), films).scatter_add(1, film, mass)


def _check_mass(seq: VisualSequence, out: VisualSequence, what: str) -> None:
    before, after = (s.mass.masked_fill(~s.mask, 0).double().sum(1) for s in (seq, out))
    assert (after <= before * (1 + 1e-6)).all(), f"{what}: mass grew from {before} to {after}"


def _row(seq: VisualSequence, row: int) -> VisualSequence:
    """One row without its padding."""
    n = int(seq.count[row])
    one = {name: getattr(seq, name)[row : row + 1, :n] for name in ("tokens", "span", "box", "mass", "segment", "mask")}
    return replace(seq, **one)


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
    if isinstance(value, Mapping):
        return [tensor for key in sorted(value) for tensor in _tensors(value[key])]
    if is_dataclass(value):
        return [tensor for field in fields(value) for tensor in _tensors(getattr(value, field.name))]
    assert value is None or isinstance(value, int | float | str), f"no tensors can be found in a {type(value).__name__}"
    return []


def _close(got: Tensor, want: Tensor, tol: float, what: str) -> None:
    torch.testing.assert_close(got, want, rtol=tol, atol=tol, msg=lambda text: f"{what}\n{text}")


class _poisoned_buffers:
    """Fresh buffers hold NaN inside, so that reading one before writing it shows."""

    def __enter__(self) -> None:
        self.before = (
            torch.are_deterministic_algorithms_enabled(),
            deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
        )
        torch.use_deterministic_algorithms(True, warn_only=True)
        deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]

    def __exit__(self, *_: object) -> None:
        torch.use_deterministic_algorithms(self.before[0])
        deterministic.fill_uninitialized_memory = self.before[1]  # type: ignore[attr-defined]
