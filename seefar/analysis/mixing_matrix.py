"""What a mixer does along the sequence as a matrix: how much of every token's value each token takes.

B batch, N tokens, C channels of a value, D channels of a token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from seefar.analysis.hidden_attention import hidden_attention
from seefar.mixers.base import Mixer
from seefar.mixers.dilated import DilatedConv
from seefar.mixers.ema import EMA
from seefar.mixers.fourier import Fourier
from seefar.mixers.gated_recurrence import GatedRecurrence
from seefar.mixers.hyena import Hyena
from seefar.mixers.multires import Multires, MultiresConv
from seefar.mixers.s4 import S4, S4D
from seefar.mixers.selective import Mamba, drive
from seefar.mixers.softmax import Attention
from seefar.mixers.sparse import SparseAttention
from seefar.mixers.token_matrix import TokenMatrix
from seefar.mixers.two_form import TwoFormAttention


@dataclass(frozen=True)
class Path:
    """Where values enter a mixer, and where what has been made of them comes out.

    Args:
        enter: the layer whose output holds the values; "" for x itself.
        leave: the layer whose input is made of them; "" for y, and "name:" for the output of a layer.
        part: which of how many equal shares of the entering channels are values.
    """

    enter: str = ""
    leave: str = ""
    part: tuple[int, int] = (0, 1)


PATHS: dict[type[nn.Module], Path] = {
    Attention: Path("v_proj", "o_proj"),
    TwoFormAttention: Path("v_proj", "o_proj"),
    SparseAttention: Path("qkv", "out", (2, 3)),
    GatedRecurrence: Path("proj_in", "proj_out", (0, 3)),
    Hyena: Path("in_proj", "out_proj", (2, 3)),
    S4: Path("", "ssm:"),
    S4D: Path("", "ssm:"),
    Multires: Path("", "conv:"),
    MultiresConv: Path(),
    DilatedConv: Path(),
    EMA: Path(),
    TokenMatrix: Path(),
}
"""By type of mixer; what is not here, nor in ``FACTORS``, has no linear path that is known."""


@dataclass(frozen=True)
class Mixing:
    """A mixer as a matrix for one input.

    Args:
        kind: "linear", results = weights @ values + offset channel by channel; or "jacobian", the sizes of the
            derivatives of outputs, by row, with respect to inputs, by column, and no more than that.
        weights: (B, C, N, N), or (B, 1, N, N) where all channels share them; complex for Fourier.
        values: (B, N, C); None for a Jacobian.
        results: (B, N, C), the mixer's own.
        offset: (B, N, C), what comes out when all values are zero.
    """

    kind: Literal["linear", "jacobian"]
    weights: Tensor
    values: Tensor | None = None
    results: Tensor | None = None
    offset: Tensor | None = None

    @property
    def error(self) -> float:
        """The largest difference between the mixer's own results and weights @ values + offset.

        Raises:
            ValueError: a Jacobian, which says nothing of the kind.
        """
        if self.values is None or self.results is None or self.offset is None:
            raise ValueError("Mixing: a Jacobian has no values, so there is nothing that its rows would sum up to")
        product = (self.weights @ self.values.mT[..., None].to(self.weights.dtype))[..., 0].mT
        return float((product.real + self.offset - self.results).abs().max())


@torch.no_grad()
def mixing_matrix(mixer: Mixer, x: Tensor, path: Path | None = None) -> Mixing:
    """The matrix with which a mixer mixes the values of x, found by giving it one-hot values in place of its own.

    Queries, keys, gates and steps stay those of x. So nothing is derived again here: the matrix is what the mixer's own
    code does. Mamba, whose values also choose its steps, gives its hidden attention instead, times its gate; Fourier
    the waves. A mixer without a linear path for values, such as a network with a nonlinear state, gives the Jacobian.

    Args:
        mixer: to look into.
        x: (B, N, D) its input; the mixer runs on N + 1 copies of each row.
        path: of the values; None for the one that is known for its type.

    Raises:
        ValueError: heads that share values, whose channels do not match those of the results.
    """
    if path is None and type(mixer) in FACTORS:
        weights, values, results = FACTORS[type(mixer)](mixer, x)
        return Mixing("linear", weights, values, results, torch.zeros_like(results))
    path = path or PATHS.get(type(mixer))
    if path is None:
        return Mixing("jacobian", torch.stack([_jacobian(mixer, row) for row in x.split(1)]))
    values, results = _run(mixer, x, path, None)
    N, C = values.shape[1:]
    if results.shape != values.shape:
        raise ValueError(
            f"mixing_matrix: {type(mixer).__name__} makes {results.shape[-1]} channels of {C} channels of values; "
            "give it as many heads of values as of queries"
        )
    hot = torch.cat(
        [values.new_zeros(1, N, C), torch.eye(N, dtype=x.dtype, device=x.device)[..., None].expand(N, N, C)]
    )
    answers = torch.stack([_run(mixer, row.expand(N + 1, -1, -1), path, hot)[1] for row in x.split(1)])
    offset = answers[:, 0]
    return Mixing("linear", (answers[:, 1:] - offset[:, None]).permute(0, 3, 2, 1), values, results, offset)


def _run(mixer: Mixer, x: Tensor, path: Path, hot: Tensor | None) -> tuple[Tensor, Tensor]:
    """The values that entered, ``hot`` in place of them where it is given, and what came out."""
    met: dict[str, Tensor] = {}

    def enter(_: Any, __: Any, out: Tensor) -> Tensor:
        pieces = list(out.chunk(path.part[1], -1))
        met["values"] = pieces[path.part[0]]
        if hot is not None:
            pieces[path.part[0]] = hot
        return torch.cat(pieces, -1)

    def leave(_: Any, given: Any, out: Any = None) -> None:
        found = given if out is None else out
        met["results"] = found[0] if isinstance(found, tuple) else found

    with _watched(mixer, path, enter, leave):
        y, _ = mixer(x if path.enter or hot is None else hot)
    return met.get("values", x), met.get("results", y)


@contextmanager
def _watched(mixer: Mixer, path: Path, enter: Callable[..., Any], leave: Callable[..., Any]) -> Iterator[None]:
    hooks = []
    if path.enter:
        hooks.append(mixer.get_submodule(path.enter).register_forward_hook(enter))
    if path.leave:
        layer = mixer.get_submodule(path.leave.removesuffix(":"))
        after = path.leave.endswith(":")
        hooks.append(layer.register_forward_hook(leave) if after else layer.register_forward_pre_hook(leave))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _jacobian(mixer: Mixer, row: Tensor) -> Tensor:
    """(1, N, N) the norm of each derivative of a token's output with respect to a token's input."""
    with torch.enable_grad():
        full: Any = torch.autograd.functional.jacobian(lambda x: mixer(x)[0][0], row)
    return torch.as_tensor(full)[:, :, 0].square().sum((1, 3)).sqrt()[None]


def _mamba(mixer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    assert isinstance(mixer, Mamba)
    u, z = mixer.in_proj(x).chunk(2, -1)
    values = drive(mixer.selection, u)[0].u_BNE
    weights = hidden_attention(mixer, x) + torch.diag_embed(mixer.D[:, None].expand(-1, x.shape[1]))
    results = _run(mixer, x, Path("in_proj", "out_proj"), None)[1]
    return nn.functional.silu(z).mT[..., None] * weights, values, results


def _fourier(mixer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    waves = torch.fft.fft(torch.eye(x.shape[1], dtype=x.dtype, device=x.device))
    return waves.expand(len(x), 1, -1, -1), torch.fft.fft(x, dim=-1), mixer(x)[0]


FACTORS: dict[type[nn.Module], Callable[[nn.Module, Tensor], tuple[Tensor, Tensor, Tensor]]] = {
    Mamba: _mamba,
    Fourier: _fourier,
}
"""Mixers whose weights, values and results are worked out in a way of their own."""
