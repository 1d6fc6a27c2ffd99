"""Memory slots: a few vectors that every token may read, rewritten by attention after each segment.

B batch, N tokens, K slots, D channels, H heads, d channels of a head, S tokens of a segment.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.mixers.base import Mixer
from seefar.ops.attention import attention


class SlotReader(nn.Module):
    """Each token takes a mean of what the slots hold, weighted by how well its query meets them.

    y_n = W_o sum_i softmax_i(W_q x_n . W_k m_i / sqrt(d)) W_v m_i

    W_o starts at zero, so that at first nothing is read.

    Raises:
        ValueError: heads that don't divide the width; in a call slots of another number of streams.
    """

    def __init__(self, dim: int, heads: int = 1) -> None:
        super().__init__()
        _check_heads(dim, heads)
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        nn.init.zeros_(self.o_proj.weight)

    def forward(self, x: Tensor, m: Tensor) -> Tensor:
        """(B, N, D) that tokens x (B, N, D) find in slots m (B, K, D)."""
        _check_rows(m, x)
        q, k, v = (
            proj(part).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for proj, part in ((self.q_proj, x), (self.k_proj, m), (self.v_proj, m))
        )
        y_BHNd: Tensor = attention(q, k, v)
        return self.o_proj(y_BHNd.transpose(1, 2).flatten(2))


class SlotWriter(nn.Module):
    """Each slot looks at itself and at the tokens of a segment, never at another slot, and takes what it attends to.

    w = softmax_{i, 1 ... S}(W_q m_i . [W_k m_i; W_k x_1 ... W_k x_S] / (sqrt(d) temperature)),
    m_i <- unit(w_0 m_i + sum_n w_n W_v x_n + b_i),    m_i at first: unit(b_i)

    A slot that attends to itself alone moves by its b_i only, so the length of b_i against 1 is how fast it forgets;
    it is learnt. ``unit`` divides a slot by its length, so that no stream can blow the memory up.

    Args:
        slots: K.
        heads: each with its own weights over [itself; tokens].
        temperature: below one, attention is sharp and a slot stays or is replaced.

    Raises:
        ValueError: no slot, heads that don't divide the width, a temperature that isn't positive; in a call slots of
            another number of streams.

    Reference: Wu et al., Memformer, arXiv 2010.06891. Differs: its first bias is drawn here at a tenth of a slot's
    length; the authors' later code adds a learnt gate and the MLP of a layer to what is written.
    """

    def __init__(self, dim: int, slots: int, *, heads: int = 1, temperature: float = 0.25) -> None:
        super().__init__()
        _check_heads(dim, heads)
        if slots < 1:
            raise ValueError(f"SlotWriter: a memory has at least one slot, got {slots}")
        if not temperature > 0:
            raise ValueError(f"SlotWriter: the temperature must be positive, got {temperature}")
        self.heads, self.temperature = heads, temperature
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        self.bias = nn.Parameter(0.1 * dim**-0.5 * torch.randn(slots, dim))

    def begin(self, streams: int) -> Tensor:
        """Slots (B, K, D) before the first segment."""
        return F.normalize(self.bias, dim=-1).expand(streams, -1, -1)

    def forward(self, x: Tensor, m: Tensor) -> Tensor:
        """The slots (B, K, D) after all tokens of a segment x (B, S, D) were offered to m (B, K, D)."""
        held, offered = self.weights(x, m)
        v_BHSd = self.v_proj(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        kept = held[..., None] * m.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return F.normalize((kept + offered @ v_BHSd).transpose(1, 2).flatten(2) + self.bias, dim=-1)

    def weights(self, x: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        """How much each head of a slot keeps of itself (B, H, K) and takes of each token (B, H, K, S)."""
        _check_rows(m, x)
        q, own, k = (
            proj(part).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for proj, part in ((self.q_proj, m), (self.k_proj, m), (self.k_proj, x))
        )
        scores = torch.cat([(q * own).sum(-1, keepdim=True), q @ k.mT], -1)
        w = (scores / (q.shape[-1] ** 0.5 * self.temperature)).softmax(-1)
        return w[..., 0], w[..., 1:]


class SlotBankState(NamedTuple):
    """The slots, the tokens of the segment that is open at the end of the S - 1 places for them, and tokens so far."""

    m_BKD: Tensor
    open_BSD: Tensor
    seen: int


class SlotBank(Mixer):
    """Tokens read slots; after every S of them the slots are written anew by those tokens.

    y_n = read(x_n, M_t) for the tokens n of segment t,    M_{t+1} = write(tokens of segment t, M_t)

    Segments are counted from the first token of a stream, wherever its chunks begin. Nothing of the segment itself is
    seen: put it beside attention within a window. For one memory around all layers of a decoder of transformers, as in
    the paper, see ``SlotMemory``.

    Args:
        read: ``SlotReader``.
        write: ``SlotWriter``.
        segment: S.

    Raises:
        ValueError: a segment without a token.

    Reference: Wu et al., Memformer, arXiv 2010.06891.
    """

    causal, bounded = True, True

    def __init__(self, read: SlotReader, write: SlotWriter, *, segment: int) -> None:
        super().__init__()
        if segment < 1:
            raise ValueError(f"SlotBank: a segment holds at least one token, got {segment=}")
        self.read, self.write, self.segment = read, write, segment

    def forward(self, x: Tensor, state: SlotBankState | None = None) -> tuple[Tensor, SlotBankState]:
        """Mix x (B, N, D), going on from ``state``."""
        S = self.segment
        m, seen = (self.write.begin(len(x)), 0) if state is None else (state.m_BKD, state.seen)
        held = seen % S
        pending = x[:, :0] if state is None else state.open_BSD[:, S - 1 - held :]
        seen += x.shape[1]
        rows = []
        while x.shape[1]:
            piece, x = x.tensor_split([S - pending.shape[1]], 1)
            rows.append(self.read(piece, m))
            pending = torch.cat([pending, piece], 1)
            if pending.shape[1] == S:
                m, pending = self.write(pending, m), pending[:, :0]
        return torch.cat(rows, 1), SlotBankState(m, F.pad(pending, (0, 0, S - 1 - pending.shape[1], 0)), seen)


def _check_heads(dim: int, heads: int) -> None:
    if heads < 1 or dim % heads:
        raise ValueError(f"slots: heads must divide dim={dim}, got {heads}")


def _check_rows(m: Tensor, x: Tensor) -> None:
    if len(m) != len(x):
        raise ValueError(f"slots: the memory is of {len(m)} streams, got {len(x)}; begin others with state=None")
