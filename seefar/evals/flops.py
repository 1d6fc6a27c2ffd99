"""The arithmetic of a call as PyTorch counts it, while it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def matrix_flops(call: Callable[[], Any]) -> int:
    """Floating-point operations of all matrix products and convolutions in a call, those of its backward included.

    Two for each multiplication with its addition. PyTorch's attention writes its weights out for the while and counts
    all pairs, those that a causal mask hides too; kernels of our own, such as the tiled attention or the scans, are not
    seen. So it compares models of matrices and ``sdpa`` attention.
    """
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counted:
        call()
    return int(counted.get_total_flops())
