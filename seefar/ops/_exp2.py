"""Powers of two that LLVM can vectorise: numba's own exp calls a library once for each number.

Imports numba at once; import this from inside a function.

2^x = 2^round(x) * 2^f with f in [-0.5, 0.5]: the first factor is an exponent written into the bits of a float, the
second a polynomial. Exponents are held within the normal range, so what would vanish below 2^-126 (float32) or 2^-1022
(float64) stays there, and what would overflow stays at 2^126 or 2^1022.

numba's cache watches a kernel's own file alone: after an edit here, delete the ``*.nbi`` of the kernels that use it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

FAST = {"reassoc", "contract", "nsz", "arcp"}  # fast arithmetic that still keeps NaN and infinity what they are

# float32: interpolation of 2^f at the Chebyshev nodes, relative error 3e-9 before rounding. The first coefficient is 1
# exactly: gains close to one are multiplied thousands of times, where any bias would grow.
F1, F2, F3 = np.float32(0.6931472067028329), np.float32(0.24022650922289554), np.float32(0.05550327226669895)
F4, F5, F6 = np.float32(0.00961805667843204), np.float32(0.0013400428177711937), np.float32(0.00015461444724808513)
ONE_32, LOW_32, HIGH_32 = np.float32(1), np.float32(-126), np.float32(126)

# float64: the Taylor series (ln 2)^k / k!, relative error 4e-18 before rounding.
LN2 = 0.6931471805599453
T2, T3, T4, T5, T6, T7 = LN2**2 / 2, LN2**3 / 6, LN2**4 / 24, LN2**5 / 120, LN2**6 / 720, LN2**7 / 5040
T8, T9, T10 = LN2**8 / 40320, LN2**9 / 362880, LN2**10 / 3628800
T11, T12, T13 = LN2**11 / 39916800, LN2**12 / 479001600, LN2**13 / 6227020800
ONE_64, LOW_64, HIGH_64 = 1.0, -1022.0, 1022.0
LOG2E_64 = 1.4426950408889634
LOG2E_32 = np.float32(LOG2E_64)

SHAPES = {
    types.float32: (ir.FloatType(), ir.IntType(32), 127, 23),
    types.float64: (ir.DoubleType(), ir.IntType(64), 1023, 52),
}


def _rounded(typingctx: Any, x: Any) -> tuple[Any, Callable[..., Any]]:
    """The nearest whole number, as one instruction."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.call(builder.module.declare_intrinsic("llvm.rint", [args[0].type]), args)

    return x(x), build


def _whole_power(typingctx: Any, x: Any) -> tuple[Any, Callable[..., Any]]:
    """2^x for a whole number x within the normal exponents, written as bits."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        real, integer, bias, mantissa = SHAPES[x]
        exponent = builder.add(builder.fptosi(args[0], integer), ir.Constant(integer, bias))
        return builder.bitcast(builder.shl(exponent, ir.Constant(integer, mantissa)), real)

    return x(x), build


def _clamped(typingctx: Any, x: Any, low: Any, high: Any) -> tuple[Any, Callable[..., Any]]:
    """x held within [low, high], in two instructions; of a NaN any number may come."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        real = args[0].type
        kind = ir.FunctionType(real, [real, real])
        higher, lower = (
            builder.module.declare_intrinsic(name, [real], kind) for name in ("llvm.maxnum", "llvm.minnum")
        )
        held = builder.call(higher, [args[0], args[1]], fastmath=["nnan"])
        return builder.call(lower, [held, args[2]], fastmath=["nnan"])

    return x(x, low, high), build


rounded: Any = intrinsic(_rounded)
whole_power: Any = intrinsic(_whole_power)
clamped: Any = intrinsic(_clamped)


def exp2(x: float) -> float:
    """2^x; the body that numba compiles is chosen by the dtype."""
    return 2.0**x


@overload(exp2, jit_options={"fastmath": FAST})
def _exp2(x: Any) -> Callable[[Any], Any]:
    def single(x: Any) -> Any:
        x = clamped(x, LOW_32, HIGH_32)
        n = rounded(x)
        f = x - n
        return (ONE_32 + f * (F1 + f * (F2 + f * (F3 + f * (F4 + f * (F5 + f * F6)))))) * whole_power(n)

    def double(x: Any) -> Any:
        x = clamped(x, LOW_64, HIGH_64)
        n = rounded(x)
        f = x - n
        high = T7 + f * (T8 + f * (T9 + f * (T10 + f * (T11 + f * (T12 + f * T13)))))
        return (ONE_64 + f * (LN2 + f * (T2 + f * (T3 + f * (T4 + f * (T5 + f * (T6 + f * high))))))) * whole_power(n)

    return single if x == types.float32 else double


def sigmoid(x: float) -> float:
    """1 / (1 + e^-x); the body that numba compiles is chosen by the dtype."""
    return 1 / (1 + 2.0 ** (-x * LOG2E_64))


@overload(sigmoid, jit_options={"fastmath": FAST})
def _sigmoid(x: Any) -> Callable[[Any], Any]:
    def single(x: Any) -> Any:
        return ONE_32 / (ONE_32 + exp2(-x * LOG2E_32))

    def double(x: Any) -> Any:
        return ONE_64 / (ONE_64 + exp2(-x * LOG2E_64))

    return single if x == types.float32 else double
