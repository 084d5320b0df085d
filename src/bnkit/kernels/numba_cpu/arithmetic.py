"""Arithmetic on vectors for Numba, and the activations.

No operation carries a fast-math flag: NaN and inf mean what they mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from bnkit.kernels.numba_cpu.llvm_types import (
    DOUBLE,
    FLOAT,
    I1,
    I32,
    constant,
    first_lanes,
    llvm_vector,
    narrowed,
    splat,
    widened,
)
from bnkit.kernels.numba_cpu.problem import SHORT_ROWS


@intrinsic
def rounded(_: Any, block: Any, value: Any) -> Any:
    """Return a double rounded to the dtype of arithmetic."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if block.vector.scalar == types.float64:
            return arguments[1]
        return builder.fpext(builder.fptrunc(arguments[1], FLOAT), DOUBLE)

    return types.float64(block, types.float64), generate


def _chosen(comparison: str) -> Any:
    @intrinsic
    def choose(_: Any, first: Any, second: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.select(builder.icmp_signed(comparison, *arguments), *arguments)

        return types.int64(types.int64, types.int64), generate

    return choose


# Of two whole numbers. Numba's min and max take longer to compile than the loops around them.
smaller, larger = _chosen("<"), _chosen(">")


@intrinsic
def fill(_: Any, block: Any, value: Any) -> Any:
    """Return a double, rounded to the dtype of arithmetic, in every lane."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = llvm_vector(block.vector)
        is_float = kind.element == FLOAT
        value = builder.fptrunc(arguments[1], FLOAT) if is_float else arguments[1]
        return splat(builder, value, kind)

    return block.vector(block, types.float64), generate


@intrinsic
def keep_first(_: Any, values: Any, count: Any) -> Any:
    """Return the first `count` values, and zeros."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        mask = first_lanes(builder, values.lanes, arguments[1])
        return builder.select(mask, arguments[0], ir.Constant(llvm_vector(values), None))

    return values(values, types.int64), generate


@intrinsic
def finite_or_zero(_: Any, values: Any) -> Any:
    """Return values, with zeros in place of infinities and NaN."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        # inf − inf is NaN, as NaN − NaN is.
        nothing = builder.fsub(arguments[0], arguments[0])
        zeros = ir.Constant(llvm_vector(values), None)
        is_finite = builder.fcmp_ordered("==", nothing, zeros)
        return builder.select(is_finite, arguments[0], zeros)

    return values(values), generate


def _binary(operation: str) -> Any:
    @intrinsic
    def apply(_: Any, first: Any, second: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return getattr(builder, operation)(*arguments)

        return first(first, second), generate

    return apply


add, subtract, multiply = _binary("fadd"), _binary("fsub"), _binary("fmul")


@intrinsic
def multiply_add(_: Any, first: Any, second: Any, third: Any) -> Any:
    """Return first·second + third, rounded once."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = llvm_vector(first)
        name = f"llvm.fma.v{first.lanes}{'f32' if kind.element == FLOAT else 'f64'}"
        function_type = ir.FunctionType(kind, [kind] * 3)
        function = cgutils.get_or_insert_function(builder.module, function_type, name)
        return builder.call(function, arguments)

    return first(first, second, third), generate


@intrinsic
def total(_: Any, values: Any) -> Any:
    """Return the sum of the lanes as a double, added pairwise."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide, count = arguments[0], values.lanes
        if wide.type.element == FLOAT:
            wide = builder.fpext(wide, ir.VectorType(DOUBLE, count))
        while count > 1:
            count //= 2
            index = ir.VectorType(I32, count)
            undefined = ir.Constant(wide.type, ir.Undefined)
            halves = [
                builder.shuffle_vector(
                    wide, undefined, ir.Constant(index, list(range(start, start + count)))
                )
                for start in (0, count)
            ]
            wide = builder.fadd(*halves)
        return builder.extract_element(wide, I32(0))

    return types.float64(values), generate


@intrinsic
def activate(_: Any, block: Any, values: Any, negative_slope: Any) -> Any:
    """Return the activation of values; NaN passes through, as in torch."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        name, x, kind = block.configuration.activation, arguments[1], arguments[1].type
        if name is None:
            return x
        zeros = ir.Constant(kind, None)
        is_low = builder.fcmp_ordered("<=", x, zeros)
        if name == "leaky_relu":
            return builder.select(is_low, builder.fmul(x, arguments[2]), x)
        x = builder.select(is_low, zeros, x)
        if name == "relu6":
            sixes = constant(kind, 6.0)
            x = builder.select(builder.fcmp_ordered(">=", x, sixes), sixes, x)
        return x

    return values(block, values, values), generate


@intrinsic
def through_activation(_: Any, block: Any, gradient: Any, values: Any, negative_slope: Any) -> Any:
    """Return the gradient of the activation's input.

    `values` are its input or its output: either tells on which piece of the activation they lie.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        name, dy, x = block.configuration.activation, arguments[1], arguments[2]
        if name is None:
            return dy
        # A value that is stored as zero counts as zero, as it does for torch's activation.
        x = widened(builder, block, narrowed(builder, block, x))
        zeros = ir.Constant(x.type, None)
        if name == "leaky_relu":
            is_high = builder.fcmp_ordered(">", x, zeros)
            return builder.select(is_high, dy, builder.fmul(dy, arguments[3]))
        dy = builder.select(builder.fcmp_ordered("<=", x, zeros), zeros, dy)
        if name == "relu6":
            is_high = builder.fcmp_ordered(">=", x, constant(x.type, 6.0))
            dy = builder.select(is_high, zeros, dy)
        return dy

    return gradient(block, gradient, values, values), generate


def _known(fact: Callable[[Any], bool]) -> Any:
    """Return a function of the block's type: its branches are decided when it is compiled."""

    @intrinsic
    def is_true(_: Any, block: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return I1(fact(block.configuration))

        return types.boolean(block), generate

    return is_true


has_residual = _known(lambda known: known.has_residual)
is_backward = _known(lambda known: known.is_backward)
has_short_rows = _known(lambda known: known.layout == SHORT_ROWS)
may_sum_masked = _known(lambda known: known.may_sum_masked)
is_double = _known(lambda known: known.dtype == "float64")
