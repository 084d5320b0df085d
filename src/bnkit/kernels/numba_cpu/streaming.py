"""Writing outputs: through the caches, or past them.

A store into a cache first fetches the line that it overwrites. A streamed store does not, and
leaves the caches to what is read again; but it must write whole vectors at multiples of their size,
and pays only if whole lines are written. Short rows that end within a line are therefore gathered,
and streamed together. Which of these a program does is known when it is compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, register_jitable

from bnkit.kernels.numba_cpu.arithmetic import smaller
from bnkit.kernels.numba_cpu.llvm_types import (
    I32,
    I64,
    in_memory,
    narrowed,
    pointer_to,
    prefetch_line,
    size_of,
)
from bnkit.kernels.numba_cpu.memory import lanes, load_first, store_first, value_bytes
from bnkit.kernels.numba_cpu.problem import (
    CACHE_LINE,
    CACHED,
    CHANNELS_LAST,
    PART_OPTIONS,
    PREFETCH_BYTES,
    ROWS_AT_ONCE,
    SHORT_ROWS,
    STREAMED,
)


@intrinsic
def write_output(_: Any, block: Any, base: Any, index: Any, values: Any) -> Any:
    """Write a whole vector of an output from `index` on, rounded to x's dtype.

    Where outputs are streamed, `index` is one that `values_before_boundary` led to.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind, size = in_memory(block), size_of(block)
        pointer = pointer_to(builder, arguments[1], arguments[2], size, kind)
        values = narrowed(builder, block, arguments[3])
        if block.configuration.stores == STREAMED:
            store = builder.store(values, pointer, align=size * block.lanes)
            store.set_metadata("nontemporal", builder.module.add_metadata([I32(1)]))
        else:
            builder.store(values, pointer, align=size)
        return context.get_dummy_value()

    return types.void(block, types.int64, types.int64, values), generate


@intrinsic
def values_before_boundary(_: Any, block: Any, base: Any, index: Any) -> Any:
    """Return how many values lie before the first that `write_output` may begin with."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if block.configuration.stores != STREAMED:
            return I64(0)
        size = size_of(block)
        address = builder.add(arguments[1], builder.mul(arguments[2], I64(size)))
        bytes_before = builder.and_(builder.neg(address), I64(size * block.lanes - 1))
        return builder.udiv(bytes_before, I64(size))

    return types.int64(block, types.int64, types.int64), generate


@intrinsic
def prefetch_output(_: Any, block: Any, base: Any, index: Any) -> Any:
    """Ask for the line of that index, to write it; nothing is fetched for a streamed output."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if block.configuration.stores == CACHED:
            prefetch_line(builder, block, arguments[1], arguments[2], writes=True)
        return context.get_dummy_value()

    return types.void(block, types.int64, types.int64), generate


@intrinsic
def _stream_line(_: Any, source: Any, target: Any) -> Any:
    """Copy a cache line from one address to another, past the caches."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.VectorType(I64, CACHE_LINE // 8).as_pointer()
        source, target = (builder.inttoptr(address, kind) for address in arguments)
        store = builder.store(builder.load(source, align=CACHE_LINE), target, align=CACHE_LINE)
        store.set_metadata("nontemporal", builder.module.add_metadata([I32(1)]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@register_jitable(**PART_OPTIONS)
def _copy_part(block: Any, source: int, target: int, size: int) -> None:
    """Copy less than a line, from one address to another, through the caches."""
    count, width = size // value_bytes(block), lanes(block)
    for i in range(0, count, width):
        part = smaller(width, count - i)
        store_first(block, target, i, part, load_first(block, source, i, part))


@register_jitable(**PART_OPTIONS)
def stream_gathered(block: Any, source: int, target: int, size: int) -> None:
    """Stream `size` bytes to an address, from one that lies as far behind the start of a line."""
    end = target + size
    head = smaller(-target & (CACHE_LINE - 1), size)
    _copy_part(block, source, target, head)
    source, target = source + head, target + head
    while target + CACHE_LINE <= end:
        _stream_line(source, target)
        source, target = source + CACHE_LINE, target + CACHE_LINE
    _copy_part(block, source, target, end - target)


@intrinsic
def finish_output(_: Any, block: Any) -> Any:
    """Wait until what was streamed can be seen by other threads."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if block.configuration.is_large:
            builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(block), generate


@intrinsic
def rows_at_once(_: Any, block: Any) -> Any:
    """Return how many rows of columns are read side by side."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return I64(1 if _is_long_read(block) else ROWS_AT_ONCE)

    return types.int64(block), generate


@intrinsic
def long_read_ahead(_: Any, block: Any) -> Any:
    """Return how many values ahead of a long read its lines are asked for."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return I64(PREFETCH_BYTES // size_of(block))

    return types.int64(block), generate


def _prefetch_if(pays: Callable[[Any], bool]) -> Any:
    """Return a function that asks for a line where that pays; it may lie beyond the tensor."""

    @intrinsic
    def ask(_: Any, block: Any, base: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            if pays(block):
                prefetch_line(builder, block, arguments[1], arguments[2], writes=False)
            return context.get_dummy_value()

        return types.void(block, types.int64, types.int64), generate

    return ask


def _is_long_read(block: Any) -> bool:
    """Whether rows of columns come from memory, one after the other."""
    known = block.configuration
    return bool(known.is_large and known.layout == CHANNELS_LAST)


# For what a pass has not read yet, and for what it reads again: that a long read finds in no cache.
prefetch_new = _prefetch_if(
    lambda block: _is_long_read(block) or block.configuration.layout == SHORT_ROWS
)
prefetch_again = _prefetch_if(_is_long_read)
