"""A small mixer of every class of matrix, and what its row of the table must say."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from seefar.analysis.mixing_table import Row
from seefar.mixers.base import Mixer
from seefar.mixers.dilated import DilatedConv
from seefar.mixers.ema import EMA
from seefar.mixers.fourier import Fourier
from seefar.mixers.gated_recurrence import GatedRecurrence
from seefar.mixers.hyena import Hyena
from seefar.mixers.linear import NormalizedLinear
from seefar.mixers.recurrent import RNN
from seefar.mixers.s4 import S4D
from seefar.mixers.selective import Mamba
from seefar.mixers.softmax import Attention
from seefar.mixers.sparse import SparseAttention
from seefar.mixers.token_matrix import TokenMatrix
from seefar.mixers.two_form import TwoFormAttention
from seefar.ops.block_attention import BlockMask


class Example(NamedTuple):
    """Of a class.

    Args:
        family: what its matrix is: a kernel of pairs, features, a pattern, a convolution, waves, ...
        make: from D, which two must divide, and N.
        fits: whether a row for N tokens is one of its class.
    """

    family: str
    make: Callable[[int, int], Mixer]
    fits: Callable[[Row, int], bool]


STRIDED = partial(BlockMask.strided, stride=4, block=4)
EXAMPLES = {
    "Attention": Example(
        "a kernel of pairs",
        lambda dim, N: Attention(dim, 2),
        lambda row, N: row.stochastic and row.causal and row.from_data and row.density == (N + 1) / (2 * N),
    ),
    "NormalizedLinear": Example(
        "features",
        lambda dim, N: TwoFormAttention(dim, dim // 2, NormalizedLinear(), form="linear"),
        lambda row, N: row.rank <= 2 and row.from_data and not row.toeplitz and row.cheapest == "low rank",
    ),
    "Attention over a window": Example(
        "a pattern",
        lambda dim, N: Attention(dim, 2, window=4),
        lambda row, N: row.stochastic and row.causal and row.density == (4 * N - 6) / N**2 and row.from_data,
    ),
    "SparseAttention": Example(
        "a pattern",
        lambda dim, N: SparseAttention(dim, 2, STRIDED),
        lambda row, N: row.stochastic and row.causal and row.density == STRIDED(N, N).density and row.from_data,
    ),
    "DilatedConv": Example(
        "a convolution",
        lambda dim, N: DilatedConv(dim, kernel=2, factor=2, cover=8),
        lambda row, N: row.toeplitz and row.causal and not row.from_data and row.density == (8 * N - 28) / N**2,
    ),
    "EMA": Example(
        "a convolution and a recurrence",
        lambda dim, N: EMA(dim, states=2),
        lambda row, N: row.toeplitz and row.causal and row.carried <= 2 and not row.from_data,
    ),
    "S4D": Example(
        "a convolution and a recurrence",
        lambda dim, N: S4D(dim, states=4),
        lambda row, N: row.toeplitz and row.causal and row.carried <= 4 and not row.from_data,
    ),
    "Hyena": Example(
        "a convolution between gates",
        lambda dim, N: Hyena(dim, length=N),
        lambda row, N: row.causal and row.from_data and not row.toeplitz and not row.stochastic,
    ),
    "GatedRecurrence": Example(
        "a recurrence",
        lambda dim, N: GatedRecurrence(dim),
        lambda row, N: row.causal and row.carried == 1 and row.from_data and row.cheapest == "recurrence",
    ),
    "Mamba": Example(
        "a recurrence",
        lambda dim, N: Mamba(dim, d_state=2),
        lambda row, N: row.causal and row.carried <= 2 and row.from_data and row.cheapest == "recurrence",
    ),
    "TokenMatrix": Example(
        "a learnt matrix",
        lambda dim, N: TokenMatrix(N),
        lambda row, N: row.rank == N and row.density == 1 and not (row.causal or row.toeplitz or row.from_data),
    ),
    "Fourier": Example(
        "waves",
        lambda dim, N: Fourier(),
        lambda row, N: row.rank == N and row.waves and not (row.causal or row.from_data),
    ),
    "LSTM": Example(
        "no matrix: a nonlinear recurrence",
        lambda dim, N: RNN(dim),
        lambda row, N: row.kind == "jacobian" and row.error is None and row.causal and row.from_data,
    ),
}
