"""Which values an activation passed, as bits: the backward reads them in the place of y.

A bit for each value is a thirty-second of what reading y in float32 takes. Each row of a tensor has
its bits in bytes of its own, so that no two threads write one byte: a row is all of S at one n and
c of contiguous data, and all channels at one position of channels-last data.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, register_jitable

from bnkit.kernels.numba_cpu.llvm_types import I1, I32, I64, constant, narrowed, widened
from bnkit.kernels.numba_cpu.memory import slot
from bnkit.kernels.numba_cpu.problem import COMPILE_OPTIONS, Slot


@register_jitable(**COMPILE_OPTIONS)
def mask_of_row(block: Any, row: int) -> int:
    """Return the address of a row's bits."""
    address: int = slot(block, Slot.MASK) + row * slot(block, Slot.MASK_STRIDE)
    return address


@intrinsic
def has_mask(_: Any, block: Any) -> Any:
    """Return whether bits are written, or read; decided when a program is compiled."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return I1(block.configuration.has_mask)

    return types.boolean(block), generate


@intrinsic
def write_mask(_: Any, block: Any, row: Any, index: Any, values: Any) -> Any:
    """Write the bits of a vector of outputs from `index` of a row on.

    The bits before it in its first byte are kept; those behind it become anything. So a row is
    written from its first value to its last.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, row, index, values = arguments
        kind = ir.IntType(block.lanes)
        bits = builder.zext(builder.bitcast(_passed(builder, block, values), kind), I32)
        pointer, shift = _place(builder, row, index)
        before = builder.sub(builder.shl(I32(1), shift), I32(1))
        kept = builder.and_(builder.load(pointer, align=1), before)
        builder.store(builder.or_(kept, builder.shl(bits, shift)), pointer, align=1)
        return context.get_dummy_value()

    return types.void(block, types.int64, types.int64, values), generate


@intrinsic
def through_mask(
    _: Any, block: Any, gradient: Any, row: Any, index: Any, negative_slope: Any
) -> Any:
    """Return the gradient of the activation's input, for values from `index` of a row on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, dy, row, index, slope = arguments
        pointer, shift = _place(builder, row, index)
        bits = builder.lshr(builder.load(pointer, align=1), shift)
        bits = builder.trunc(bits, ir.IntType(block.lanes))
        passed = builder.bitcast(bits, ir.VectorType(I1, block.lanes))
        is_leaky = block.configuration.activation == "leaky_relu"
        held = builder.fmul(dy, slope) if is_leaky else ir.Constant(dy.type, None)
        return builder.select(passed, dy, held)

    return gradient(block, gradient, types.int64, types.int64, negative_slope), generate


def _place(builder: Any, row: Any, index: Any) -> tuple[Any, Any]:
    """Return a pointer to the four bytes that begin with the index's bit, and its place there."""
    address = builder.add(row, builder.lshr(index, I64(3)))
    shift = builder.trunc(builder.and_(index, I64(7)), I32)
    return builder.inttoptr(address, I32.as_pointer()), shift


def _passed(builder: Any, block: Any, values: Any) -> Any:
    """Return where the activation's gradient is 1, by its output as it is stored."""
    y = widened(builder, block, narrowed(builder, block, values))
    zeros = ir.Constant(y.type, None)
    if block.configuration.activation == "leaky_relu":
        return builder.fcmp_ordered(">", y, zeros)
    # NaN passes, as it does for torch's activations.
    passed = builder.fcmp_unordered(">", y, zeros)
    if block.configuration.activation == "relu6":
        passed = builder.and_(passed, builder.fcmp_unordered("<", y, constant(y.type, 6.0)))
    return passed
