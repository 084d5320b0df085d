"""Reading and writing from Numba: slots of the block, vectors, single values, doubles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from bnkit.kernels.numba_cpu.llvm_types import (
    BYTES,
    DOUBLE,
    FLOAT,
    I32,
    I64,
    IN_MEMORY,
    VECTOR_BYTES,
    Block,
    bfloat16_bits,
    first_lanes,
    in_memory,
    llvm_vector,
    masked_function,
    narrowed,
    pointer_to,
    prefetch_line,
    size_of,
    splat,
    widened,
)
from bnkit.kernels.numba_cpu.problem import (
    CHANNELS_PER_PASS,
    KEPT_ROWS,
    KEPT_STRIDE,
    Configuration,
    Slot,
)


def constant_slot(builder: Any, block: Any, index: Any) -> Any:
    """Return the LLVM that reads a slot that no program writes."""
    load = builder.load(builder.gep(block, [index]))
    load.set_metadata("invariant.load", builder.module.add_metadata([]))
    return load


@intrinsic
def slot(_: Any, block: Any, index: Any) -> Any:
    """Return the number in a slot of the block that no program writes.

    So it is read once, before a loop, whatever the loop writes.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return constant_slot(builder, *arguments)

    return types.int64(block, index), generate


def _seen(part: Callable[[Configuration], Configuration]) -> Any:
    """Return a function that gives the same block, of a type that knows only what a part needs.

    So the part is compiled once for all the programs in a process that need it alike.
    """

    @intrinsic
    def same_block(_: Any, block: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return arguments[0]

        return Block(part(block.configuration), block.digest)(block), generate

    return same_block


seen_by_channels = _seen(lambda known: known.of_channels)
seen_by_sums = _seen(lambda known: known.of_sums)
seen_by_map = _seen(lambda known: known.of_map)


@intrinsic
def written_slot(_: Any, block: Any, index: Any) -> Any:
    """Return the number in a slot that a program may have written."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(builder.gep(arguments[0], [arguments[1]]))

    return types.int64(block, index), generate


@intrinsic
def put_slot(_: Any, block: Any, index: Any, value: Any) -> Any:
    """Write a number into a slot, for `written_slot`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], builder.gep(arguments[0], [arguments[1]]))
        return context.get_dummy_value()

    return types.void(block, index, types.int64), generate


@intrinsic
def double_slot(_: Any, block: Any, index: Any) -> Any:
    """Return the double whose bits are in a slot."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(constant_slot(builder, *arguments), DOUBLE)

    return types.float64(block, index), generate


@intrinsic
def lanes(_: Any, block: Any) -> Any:
    """Return how many values a vector holds."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return I64(block.lanes)

    return types.int64(block), generate


@intrinsic
def value_bytes(_: Any, block: Any) -> Any:
    """Return the size of one value of x."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return I64(size_of(block))

    return types.int64(block), generate


@intrinsic
def scratch(_: Any, block: Any) -> Any:
    """Return the address of room for two vectors for each channel of a pass, on the stack."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.ArrayType(ir.VectorType(I64, 8), 2 * CHANNELS_PER_PASS)
        room = cgutils.alloca_once(builder, kind)
        room.align = VECTOR_BYTES
        return builder.ptrtoint(room, I64)

    return types.int64(block), generate


@intrinsic
def arithmetic_bytes(_: Any, block: Any) -> Any:
    """Return the size of one value in the dtype of arithmetic."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return I64(VECTOR_BYTES // block.lanes)

    return types.int64(block), generate


@intrinsic
def column_room(_: Any, block: Any) -> Any:
    """Return the address of room for what is kept for columns, and for their sums; on the stack."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values = (KEPT_ROWS + 2) * KEPT_STRIDE
        vectors = values // block.lanes
        room = cgutils.alloca_once(builder, ir.ArrayType(ir.VectorType(I64, 8), vectors))
        room.align = VECTOR_BYTES
        return builder.ptrtoint(room, I64)

    return types.int64(block), generate


@intrinsic
def load(_: Any, block: Any, base: Any, index: Any) -> Any:
    """Return the values of x's dtype from `index` on, in the dtype of arithmetic."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = in_memory(block)
        pointer = pointer_to(builder, arguments[1], arguments[2], size_of(block), kind)
        return widened(builder, block, builder.load(pointer, align=size_of(block)))

    return block.vector(block, types.int64, types.int64), generate


@intrinsic
def load_first(_: Any, block: Any, base: Any, index: Any, count: Any) -> Any:
    """Return `count` values from `index` on, and zeros; nothing beyond them is read."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = in_memory(block)
        pointer = pointer_to(builder, arguments[1], arguments[2], size_of(block), kind)
        mask = first_lanes(builder, block.lanes, arguments[3])
        function = masked_function(builder, block, "load", 1)
        zeros = ir.Constant(kind, None)
        raw = builder.call(function, [pointer, I32(size_of(block)), mask, zeros])
        return widened(builder, block, raw)

    return block.vector(block, types.int64, types.int64, types.int64), generate


@intrinsic
def store(_: Any, block: Any, base: Any, index: Any, values: Any) -> Any:
    """Write values from `index` on, rounded to x's dtype."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = in_memory(block)
        pointer = pointer_to(builder, arguments[1], arguments[2], size_of(block), kind)
        builder.store(narrowed(builder, block, arguments[3]), pointer, align=size_of(block))
        return context.get_dummy_value()

    return types.void(block, types.int64, types.int64, values), generate


@intrinsic
def store_first(_: Any, block: Any, base: Any, index: Any, count: Any, values: Any) -> Any:
    """Write the first `count` values from `index` on, and nothing beyond them."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = in_memory(block)
        pointer = pointer_to(builder, arguments[1], arguments[2], size_of(block), kind)
        mask = first_lanes(builder, block.lanes, arguments[3])
        function = masked_function(builder, block, "store", 0)
        narrow = narrowed(builder, block, arguments[4])
        builder.call(function, [narrow, pointer, I32(size_of(block)), mask])
        return context.get_dummy_value()

    return types.void(block, types.int64, types.int64, types.int64, values), generate


@intrinsic
def prefetch(_: Any, block: Any, base: Any, index: Any) -> Any:
    """Ask for the cache line of that index; it may lie beyond the tensor."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        prefetch_line(builder, block, arguments[1], arguments[2], writes=False)
        return context.get_dummy_value()

    return types.void(block, types.int64, types.int64), generate


@intrinsic
def prefetch_next(_: Any, block: Any, base: Any, index: Any) -> Any:
    """Ask for what lies in the place of that index in the next task, if it is wanted."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        distance = constant_slot(builder, arguments[0], I64(int(Slot.NEXT)))
        end = constant_slot(builder, arguments[0], I64(int(Slot.NEXT_END)))
        is_wanted = builder.icmp_signed("<", arguments[2], end)
        # Its own line is there already: asking for it once more is less than a branch.
        index = builder.add(arguments[2], builder.select(is_wanted, distance, I64(0)))
        prefetch_line(builder, block, arguments[1], index, writes=False, into=2)
        return context.get_dummy_value()

    return types.void(block, types.int64, types.int64), generate


@intrinsic
def peek(_: Any, block: Any, base: Any, index: Any) -> Any:
    """Return values that are kept in the dtype of arithmetic, from `index` on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = llvm_vector(block.vector)
        size = VECTOR_BYTES // kind.count
        pointer = pointer_to(builder, arguments[1], arguments[2], size, kind)
        return builder.load(pointer, align=size)

    return block.vector(block, types.int64, types.int64), generate


@intrinsic
def poke(_: Any, block: Any, base: Any, index: Any, values: Any) -> Any:
    """Keep values in the dtype of arithmetic, from `index` on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = llvm_vector(block.vector)
        size = VECTOR_BYTES // kind.count
        pointer = pointer_to(builder, arguments[1], arguments[2], size, kind)
        builder.store(arguments[3], pointer, align=size)
        return context.get_dummy_value()

    return types.void(block, types.int64, types.int64, values), generate


@intrinsic
def peek_one(_: Any, block: Any, base: Any, index: Any) -> Any:
    """Return one value that is kept in the dtype of arithmetic, in every lane."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = llvm_vector(block.vector)
        size = VECTOR_BYTES // kind.count
        pointer = pointer_to(builder, arguments[1], arguments[2], size, kind.element)
        return splat(builder, builder.load(pointer), kind)

    return block.vector(block, types.int64, types.int64), generate


@intrinsic
def arithmetic_at(_: Any, block: Any, base: Any, index: Any) -> Any:
    """Return one value that is kept in the dtype of arithmetic, as a double."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return double_from(builder, block.configuration.arithmetic, *arguments[1:])

    return types.float64(block, types.int64, types.int64), generate


@intrinsic
def poke_one(_: Any, block: Any, base: Any, index: Any, value: Any) -> Any:
    """Keep one double, rounded to the dtype of arithmetic."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = llvm_vector(block.vector)
        size = VECTOR_BYTES // kind.count
        pointer = pointer_to(builder, arguments[1], arguments[2], size, kind.element)
        is_float = kind.element == FLOAT
        value = builder.fptrunc(arguments[3], FLOAT) if is_float else arguments[3]
        builder.store(value, pointer)
        return context.get_dummy_value()

    return types.void(block, types.int64, types.int64, types.float64), generate


@intrinsic
def add_one(_: Any, address: Any) -> Any:
    """Add 1 to the whole number of 64 bits at an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], I64.as_pointer())
        builder.store(builder.add(builder.load(pointer), I64(1)), pointer)
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def value_at(_: Any, block: Any, base: Any, index: Any) -> Any:
    """Return one value of x's dtype as a double."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        dtype = block.configuration.dtype
        return double_from(builder, dtype, arguments[1], arguments[2])

    return types.float64(block, types.int64, types.int64), generate


@intrinsic
def parameter_at(_: Any, block: Any, base: Any, index: Any) -> Any:
    """Return one value of weight or bias as a double."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        dtype = block.configuration.parameter_dtype
        return double_from(builder, dtype, arguments[1], arguments[2])

    return types.float64(block, types.int64, types.int64), generate


@intrinsic
def put_parameter(_: Any, block: Any, base: Any, index: Any, value: Any) -> Any:
    """Write a double into one value of a running statistic, rounded to its dtype."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        dtype = block.configuration.parameter_dtype
        address = pointer_to(builder, arguments[1], arguments[2], BYTES[dtype], IN_MEMORY[dtype])
        value = arguments[3]
        if dtype == "float32":
            value = builder.fptrunc(value, FLOAT)
        elif dtype == "float16":
            value = builder.fptrunc(builder.fptrunc(value, FLOAT), ir.HalfType())
        elif dtype == "bfloat16":
            value = bfloat16_bits(builder, builder.fptrunc(value, FLOAT), I32)
        builder.store(value, address)
        return context.get_dummy_value()

    return types.void(block, types.int64, types.int64, types.float64), generate


def double_from(builder: Any, dtype: str, base: Any, index: Any) -> Any:
    """Return the LLVM that reads one value of a dtype as a double."""
    pointer = pointer_to(builder, base, index, BYTES[dtype], IN_MEMORY[dtype])
    value = builder.load(pointer)
    if dtype == "bfloat16":
        value = builder.bitcast(builder.shl(builder.zext(value, I32), I32(16)), FLOAT)
    return value if dtype == "float64" else builder.fpext(value, DOUBLE)
