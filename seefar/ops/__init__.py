"""Numeric kernels: one function each, several backends, the same result from all of them.

Every op takes ``backend=``; left out, the first backend of its table that can run the tensors does. ``explain`` says
which one that is and what kept the faster ones from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

from torch import Tensor

from seefar.ops import _backend
from seefar.ops.attention import BACKENDS as _ATTENTION
from seefar.ops.attention import attention as attention
from seefar.ops.attention.merge import merge_attention as merge_attention
from seefar.ops.block_attention import BACKENDS as _BLOCK_ATTENTION
from seefar.ops.block_attention import block_attention as block_attention
from seefar.ops.block_attention.mask import BlockMask as BlockMask
from seefar.ops.cauchy import BACKENDS as _CAUCHY
from seefar.ops.cauchy import cauchy as cauchy
from seefar.ops.delta_rule import BACKENDS as _DELTA_RULE
from seefar.ops.delta_rule import delta_rule as delta_rule
from seefar.ops.dilated_conv import BACKENDS as _DILATED_CONV
from seefar.ops.dilated_conv import dilated_conv as dilated_conv
from seefar.ops.fft_conv import BACKENDS as _FFT_CONV
from seefar.ops.fft_conv import fft_conv as fft_conv
from seefar.ops.int8_attention import BACKENDS as _INT8_ATTENTION
from seefar.ops.int8_attention import int8_attention as int8_attention
from seefar.ops.int8_attention.quantize import quantize_int8 as quantize_int8
from seefar.ops.linear_attention import BACKENDS as _LINEAR_ATTENTION
from seefar.ops.linear_attention import linear_attention as linear_attention
from seefar.ops.linear_scan import BACKENDS as _LINEAR_SCAN
from seefar.ops.linear_scan import linear_scan as linear_scan
from seefar.ops.long_conv import BACKENDS as _LONG_CONV
from seefar.ops.long_conv import long_conv as long_conv
from seefar.ops.newton_inverse import BACKENDS as _NEWTON_INVERSE
from seefar.ops.newton_inverse import newton_inverse as newton_inverse
from seefar.ops.picked_attention import BACKENDS as _PICKED_ATTENTION
from seefar.ops.picked_attention import picked_attention as picked_attention
from seefar.ops.selective_scan import BACKENDS as _SELECTIVE_SCAN
from seefar.ops.selective_scan import selective_scan as selective_scan
from seefar.ops.short_conv import BACKENDS as _SHORT_CONV
from seefar.ops.short_conv import short_conv as short_conv
from seefar.ops.ssd import BACKENDS as _SSD
from seefar.ops.ssd import ssd as ssd
from seefar.ops.taylor_attention import BACKENDS as _TAYLOR_ATTENTION
from seefar.ops.taylor_attention import taylor_attention as taylor_attention
from seefar.ops.tree_topk import BACKENDS as _TREE_TOPK
from seefar.ops.tree_topk import tree_topk as tree_topk

_TABLES: Mapping[str, Mapping[str, ModuleType]] = {
    "attention": _ATTENTION,
    "block_attention": _BLOCK_ATTENTION,
    "cauchy": _CAUCHY,
    "delta_rule": _DELTA_RULE,
    "dilated_conv": _DILATED_CONV,
    "fft_conv": _FFT_CONV,
    "int8_attention": _INT8_ATTENTION,
    "linear_attention": _LINEAR_ATTENTION,
    "linear_scan": _LINEAR_SCAN,
    "long_conv": _LONG_CONV,
    "newton_inverse": _NEWTON_INVERSE,
    "picked_attention": _PICKED_ATTENTION,
    "selective_scan": _SELECTIVE_SCAN,
    "short_conv": _SHORT_CONV,
    "taylor_attention": _TAYLOR_ATTENTION,
    "ssd": _SSD,
    "tree_topk": _TREE_TOPK,
}


def explain(op: str, *tensors: Tensor) -> str:
    """One line for each backend of an op, fastest first: which runs these tensors and why the faster ones cannot.

    Raises:
        ValueError: there is no op of that name.

    Example:
        >>> import torch
        >>> print(explain("linear_scan", torch.ones(1, 4, 1, dtype=torch.complex64)))
        linear_scan.numba: cannot: needs float32 or float64, got torch.complex64
        linear_scan.blocked: runs
        linear_scan.reference: could
    """
    if op not in _TABLES:
        raise ValueError(f"explain: unknown op {op!r}, expected one of {sorted(_TABLES)}")
    return _backend.explain(op, _TABLES[op], *tensors)
