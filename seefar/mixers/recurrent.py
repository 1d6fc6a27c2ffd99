"""Recurrent networks with a nonlinear state: Elman, LSTM and GRU cells, read in one direction or in both.

B batch, N tokens, D channels, H units of one direction, G gates times H.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seefar.mixers.base import Mixer

RNNState = tuple[Tensor, ...]
"""What a cell carries from token to token, each (B, H); the first is what it shows."""


@dataclass(frozen=True)
class Cell:
    """What a recurrent network does at one token.

    Args:
        name: of the module of ``torch.nn`` whose weights fit.
        gates: rows of a weight over H.
        parts: tensors of a state.
        keeps: which gate decides how much of the past stays, and its sign in that: None for no such gate.
        step: (what the token drives (B, G), what the state drives (B, G), state) to the next state.
    """

    name: str
    gates: int
    parts: int
    keeps: int | None
    step: Callable[[Tensor, Tensor, RNNState], RNNState]


def _elman(driven_BG: Tensor, pushed_BG: Tensor, state: RNNState) -> RNNState:
    return ((driven_BG + pushed_BG).tanh(),)


def _lstm(driven_BG: Tensor, pushed_BG: Tensor, state: RNNState) -> RNNState:
    i, f, g, o = (driven_BG + pushed_BG).chunk(4, -1)
    c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def _gru(driven_BG: Tensor, pushed_BG: Tensor, state: RNNState) -> RNNState:
    H = state[0].shape[-1]
    gates, fresh, held = driven_BG[:, : 2 * H] + pushed_BG[:, : 2 * H], driven_BG[:, 2 * H :], pushed_BG[:, 2 * H :]
    r, z = gates.sigmoid().chunk(2, -1)
    return (torch.lerp((fresh + r * held).tanh(), state[0], z),)


ELMAN = Cell("RNN", 1, 1, None, _elman)
"""h' = tanh(W x + U h + b): its gradient over k tokens goes like the k-th power of the spectral radius of U."""
LSTM = Cell("LSTM", 4, 2, 1, _lstm)
"""c' = s(f) c + s(i) tanh(g),  h' = s(o) tanh(c'): the cell c is passed on by a factor that the network chooses."""
GRU = Cell("GRU", 3, 1, 1, _gru)
"""h' = s(z) h + (1 - s(z)) tanh(W x + s(r) (U h + b))."""


class RNN(Mixer):
    """One state that is rewritten at every token by a cell: nothing but the state tells a token of those before it.

    (h_t, ...) = cell(W x_t + b, U h_{t-1} + b'),    y_t = h_t, or [h_t forward, h_t backward]

    The weights are named and shaped as in ``torch.nn.RNN``, ``LSTM`` and ``GRU`` of one layer, whose state dict loads
    as it is. Each direction has D units, or D / 2 if there are two, so that y is as wide as x; deep networks are
    columns of these.

    Args:
        cell: ``ELMAN``, ``LSTM`` or ``GRU``.
        bidirectional: read from the end as well; such a mixer is not causal, holds no state and refuses one.
        horizon: tokens that the longest of the memories begin with; the gate that keeps the past then starts such that
            a unit forgets in 1 to ``horizon`` tokens, drawn evenly, and an LSTM's gate that writes is closed as far as
            that one is open (arXiv 1804.11188). None for gates half open, as in torch.

    Raises:
        ValueError: an odd D in both directions; a horizon below 2, or for a cell without gates; in a call a state or
            lengths that do not fit.

    Reference: Elman 1990; Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000; Cho et al.,
    arXiv 1406.1078; all in Lipton et al., arXiv 1506.00019. Differs: no peepholes, no output fed back (Jordan).
    """

    def __init__(
        self, dim: int, *, cell: Cell = LSTM, bidirectional: bool = False, horizon: float | None = None
    ) -> None:
        super().__init__()
        if bidirectional and dim % 2:
            raise ValueError(f"RNN: two directions share the {dim} channels, so their number must be even")
        if horizon is not None and (cell.keeps is None or horizon < 2):
            raise ValueError(
                f"RNN: a horizon of at least 2 tokens needs LSTM or GRU gates, got {horizon} and {cell.name}"
            )
        self.causal, self.bounded = not bidirectional, True
        self.cell, self.bidirectional = cell, bidirectional
        self.units = H = dim // 2 if bidirectional else dim
        for end in self._directions:
            for name, shape in (("ih", (cell.gates * H, dim)), ("hh", (cell.gates * H, H))):
                self.register_parameter(f"weight_{name}_l0{end}", nn.Parameter(_uniform(H, *shape)))
                self.register_parameter(f"bias_{name}_l0{end}", nn.Parameter(_uniform(H, cell.gates * H)))
            if horizon is not None and cell.keeps is not None:
                self._open(end, cell.keeps, horizon)

    def forward(
        self, x: Tensor, state: RNNState | None = None, *, lengths: Tensor | None = None
    ) -> tuple[Tensor, RNNState | None]:
        """Mix x (B, N, D), going on from ``state``.

        Args:
            x: (B, N, D).
            state: after the tokens before.
            lengths: (B,) int64, in any order: real tokens of each row, the rest is padding. It gives zeros and leaves
                the state, or the direction that begins at the end, as it is.
        """
        if state is not None and not self.causal:
            raise ValueError(
                "RNN: read in both directions it needs the whole sequence: there is no state to go on from"
            )
        if not x.shape[1]:
            raise ValueError(f"RNN: needs at least one token, got x {tuple(x.shape)}")
        if state is not None and any(part.shape != (len(x), self.units) for part in state):
            shapes = [tuple(part.shape) for part in state]
            raise ValueError(f"RNN: the state of {len(x)} rows must be {(len(x), self.units)}, got {shapes}")
        if lengths is not None and (lengths.shape != x.shape[:1] or lengths.min() < 1 or lengths.max() > x.shape[1]):
            raise ValueError(
                f"RNN: lengths must be {len(x)} numbers from 1 to {x.shape[1]}, got {lengths.tolist()}; leave out "
                "rows without a token"
            )
        real_BN = None if lengths is None else torch.arange(x.shape[1], device=x.device) < lengths[:, None]
        ways = [self._run(x, end, state, real_BN) for end in self._directions]
        return torch.cat([y for y, _ in ways], -1), ways[0][1] if self.causal else None

    @property
    def _directions(self) -> tuple[str, ...]:
        return ("", "_reverse") if self.bidirectional else ("",)

    def _run(self, x: Tensor, end: str, state: RNNState | None, real_BN: Tensor | None) -> tuple[Tensor, RNNState]:
        into, bias, over, offset = (
            self.get_parameter(f"{kind}_l0{end}") for kind in ("weight_ih", "bias_ih", "weight_hh", "bias_hh")
        )
        driven_BNG = nn.functional.linear(x, into, bias)
        order = range(x.shape[1] - 1, -1, -1) if end else range(x.shape[1])
        if state is None:
            state = (x.new_zeros(len(x), self.units),) * self.cell.parts
        each, shown = driven_BNG.unbind(1), [state[0]] * x.shape[1]
        turned = over.mT
        for t in order:
            later = self.cell.step(each[t], torch.addmm(offset, state[0], turned), state)
            if real_BN is not None:
                real_B1 = real_BN[:, t, None]
                later = tuple(torch.where(real_B1, new, old) for new, old in zip(later, state, strict=True))
            state = later
            shown[t] = state[0] if real_BN is None else state[0] * real_BN[:, t, None]
        return torch.stack(shown, 1), state

    @torch.no_grad()
    def _open(self, end: str, keeps: int, horizon: float) -> None:
        H = self.units
        logit = torch.empty(H).uniform_(1, max(1.0, horizon - 1)).log()
        into, over = (self.get_parameter(f"bias_{side}_l0{end}") for side in ("ih", "hh"))
        rows = {keeps: logit} | ({0: -logit} if self.cell is LSTM else {})
        for gate, value in rows.items():
            into[gate * H : (gate + 1) * H] = value
            over[gate * H : (gate + 1) * H] = 0


def _uniform(units: int, *shape: int) -> Tensor:
    """As ``torch.nn.RNN`` begins."""
    return torch.empty(*shape).uniform_(-(units**-0.5), units**-0.5)
