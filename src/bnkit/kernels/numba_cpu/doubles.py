"""Doubles in memory, for Numba: sums, and values per channel."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from bnkit.kernels.numba_cpu.llvm_types import DOUBLE, FLOAT, pointer_to


@intrinsic
def add_to_doubles(_: Any, base: Any, index: Any, values: Any) -> Any:
    """Add values to the doubles from `index` on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.VectorType(DOUBLE, values.lanes)
        pointer = pointer_to(builder, arguments[0], arguments[1], 8, kind)
        wide = arguments[2]
        if wide.type.element == FLOAT:
            wide = builder.fpext(wide, kind)
        builder.store(builder.fadd(builder.load(pointer, align=8), wide), pointer, align=8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, values), generate


@intrinsic
def double_at(_: Any, base: Any, index: Any) -> Any:
    """Return the double of that index."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(pointer_to(builder, arguments[0], arguments[1], 8, DOUBLE))

    return types.float64(types.int64, types.int64), generate


@intrinsic
def add_double(_: Any, base: Any, index: Any, value: Any) -> Any:
    """Add to the double of that index."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = pointer_to(builder, arguments[0], arguments[1], 8, DOUBLE)
        builder.store(builder.fadd(builder.load(address), arguments[2]), address)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.float64), generate


@intrinsic
def put_double(_: Any, base: Any, index: Any, value: Any) -> Any:
    """Write the double of that index."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], pointer_to(builder, arguments[0], arguments[1], 8, DOUBLE))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.float64), generate
