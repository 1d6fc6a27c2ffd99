"""Products of small whole numbers, two a lane: what a processor multiplies fastest. Imports numba at once.

int16 pairs times int16 pairs, added in int32, is one instruction (``pmaddwd`` on x86, from AVX2 on for 16 numbers).
LLVM finds it in the plain vector operations that are written here, and makes do elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

ROWS, COLUMNS = 4, 16
"""Of a tile of results: 8 registers of 8 numbers, which leaves enough for what is multiplied."""

I16, I32, I64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)
HALF = COLUMNS // 2
PAIRS, WIDE, SUMS = ir.VectorType(I16, 16), ir.VectorType(I32, 16), ir.VectorType(I32, HALF)


def _picked(numbers: range) -> ir.Constant:
    return ir.Constant(ir.VectorType(I32, len(numbers)), [ir.Constant(I32, i) for i in numbers])


def _times(builder: Any, a: Any, b: Any) -> Any:
    """Eight sums of two products."""
    product = builder.mul(builder.sext(a, WIDE), builder.sext(b, WIDE))
    even, odd = (builder.shuffle_vector(product, product, _picked(range(i, 16, 2))) for i in (0, 1))
    return builder.add(even, odd)


def _at(builder: Any, address: Any, offset: Any, kind: Any) -> Any:
    """A pointer to what lies so many bytes behind an address."""
    return builder.inttoptr(builder.add(address, offset), ir.PointerType(kind))


def _tile(
    typingctx: Any, a: Any, a_row: Any, b: Any, pairs: Any, out: Any, out_row: Any
) -> tuple[Any, Callable[..., Any]]:
    """out[r, j] = sum_p a[r, 2p] b[p, j, 0] + a[r, 2p + 1] b[p, j, 1] for 4 rows and 16 columns.

    a, b and out are addresses of int16, int16 and int32; a_row and out_row bytes from row to row; b is (pairs, 16, 2).
    """

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        a, a_row, b, pairs, out, out_row = args
        sums = [cgutils.alloca_once(builder, SUMS) for _ in range(2 * ROWS)]
        for cell in sums:
            builder.store(ir.Constant(SUMS, [0] * HALF), cell)
        with cgutils.for_range(builder, pairs) as loop:
            start = builder.mul(loop.index, ir.Constant(I64, 4 * COLUMNS))
            right = [
                builder.load(_at(builder, b, builder.add(start, ir.Constant(I64, 32 * half)), PAIRS), align=4)
                for half in (0, 1)
            ]
            for row in range(ROWS):
                place = builder.add(
                    builder.mul(a_row, ir.Constant(I64, row)), builder.shl(loop.index, ir.Constant(I64, 2))
                )
                pair = builder.load(_at(builder, a, place, I32), align=4)
                one = builder.insert_element(ir.Constant(SUMS, ir.Undefined), pair, ir.Constant(I32, 0))
                left = builder.bitcast(builder.shuffle_vector(one, one, ir.Constant(SUMS, [0] * HALF)), PAIRS)
                for half in (0, 1):
                    cell = sums[2 * row + half]
                    builder.store(builder.add(builder.load(cell), _times(builder, left, right[half])), cell)
        for row in range(ROWS):
            for half in (0, 1):
                place = builder.add(builder.mul(out_row, ir.Constant(I64, row)), ir.Constant(I64, 32 * half))
                builder.store(builder.load(sums[2 * row + half]), _at(builder, out, place, SUMS), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64, types.int64, types.int64), build


def _largest(typingctx: Any, a: Any) -> tuple[Any, Callable[..., Any]]:
    """The largest of 128 int32 that lie together at an address."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def larger(one: Any, other: Any) -> Any:
            return builder.select(builder.icmp_signed(">", one, other), one, other)

        parts = [
            builder.load(_at(builder, args[0], ir.Constant(I64, 32 * i), SUMS), align=4) for i in range(128 // HALF)
        ]
        while len(parts) > 1:
            parts = [larger(one, other) for one, other in zip(parts[::2], parts[1::2], strict=True)]
        best = parts[0]
        for apart in (4, 2, 1):
            turned = ir.Constant(SUMS, [(i + apart) % HALF for i in range(HALF)])
            best = larger(best, builder.shuffle_vector(best, best, turned))
        return builder.extract_element(best, ir.Constant(I32, 0))

    return types.int32(types.int64), build


tile: Any = intrinsic(_tile)
largest: Any = intrinsic(_largest)
