"""Loops over contiguous data, (N, C, S), whose rows of S values are short.

Those of a task's channels lie side by side, and make one row that is whole vectors long and begins
and ends with a cache line. Its columns are the positions of each channel: what is kept for a
channel is spread over them, and the sums of its positions are added at the end. A task has all
values of its channels.
"""

from __future__ import annotations

from typing import Any

from numba.extending import register_jitable

from bnkit.kernels.numba_cpu.arithmetic import (
    add,
    fill,
    is_backward,
    keep_first,
    smaller,
    total,
)
from bnkit.kernels.numba_cpu.columns import add_rest, add_rows, write_rest, write_rows
from bnkit.kernels.numba_cpu.doubles import add_double, put_double
from bnkit.kernels.numba_cpu.memory import (
    arithmetic_bytes,
    column_room,
    lanes,
    peek,
    peek_one,
    poke,
    slot,
)
from bnkit.kernels.numba_cpu.problem import (
    KEPT_ROWS,
    KEPT_STRIDE,
    PART_OPTIONS,
    SHORT_ROWS_PER_SUM,
    Slot,
)
from bnkit.kernels.numba_cpu.streaming import rows_at_once


@register_jitable(**PART_OPTIONS)
def _spread(block: Any, source: int, c0: int, c1: int, rows: int, kept: int) -> None:
    """Keep for each position of a channel what is kept for the channel, in so many rows."""
    size, stride, width = slot(block, Slot.S), slot(block, Slot.STRIDE), lanes(block)
    for row in range(rows):
        # In order: what is written beyond a channel's last position is the next one's.
        for c in range(c0, c1):
            value, start = peek_one(block, source, row * stride + c), (c - c0) * size
            for i in range(start, start + size, width):
                poke(block, kept, row * KEPT_STRIDE + i, value)


@register_jitable(**PART_OPTIONS)
def _collect(block: Any, room: int, c0: int, c1: int, sums: int) -> None:
    """Add the sums of each channel's positions to its two doubles."""
    size, stride, width = slot(block, Slot.S), slot(block, Slot.STRIDE), lanes(block)
    for c in range(c0, c1):
        start = (c - c0) * size
        end, s, q = start + size, fill(block, 0.0), fill(block, 0.0)
        for i in range(start, end, width):
            s = add(s, keep_first(peek(block, room, i), end - i))
            q = add(q, keep_first(peek(block, room, KEPT_STRIDE + i), end - i))
        add_double(sums, c, total(s))
        add_double(sums, stride + c, total(q))


@register_jitable(**PART_OPTIONS)
def sum_short_rows(
    block: Any, c0: int, c1: int, n0: int, n1: int, s0: int, s1: int, sums: int
) -> None:
    """Write the two sums of each channel of a task."""
    kept, width, stride = column_room(block), lanes(block), slot(block, Slot.STRIDE)
    room = kept + KEPT_ROWS * KEPT_STRIDE * arithmetic_bytes(block)
    first, count, zeros = (
        c0 * slot(block, Slot.S),
        (c1 - c0) * slot(block, Slot.S),
        fill(block, 0.0),
    )
    if is_backward(block):
        _spread(block, slot(block, Slot.COEFFICIENTS), c0, c1, 3, kept)
    else:
        _spread(block, slot(block, Slot.SHIFT), c0, c1, 1, kept)
    for c in range(c0, c1):
        put_double(sums, c, 0.0)
        put_double(sums, stride + c, 0.0)
    for start in range(n0, n1, SHORT_ROWS_PER_SUM):
        end = smaller(start + SHORT_ROWS_PER_SUM, n1)
        several = start + (end - start) // rows_at_once(block) * rows_at_once(block)
        for i in range(0, count, width):
            poke(block, room, i, zeros)
            poke(block, room, KEPT_STRIDE + i, zeros)
        add_rows(block, start, several, first, count, kept, room)
        if several < end:
            for i in range(0, count, width):
                add_rest(block, several, end, first, i, width, kept, room)
        _collect(block, room, c0, c1, sums)


@register_jitable(**PART_OPTIONS)
def map_short_rows(block: Any, c0: int, c1: int, n0: int, n1: int, s0: int, s1: int) -> None:
    """Write the output of a task, from the last row on: what was summed last is still cached."""
    kept, width = column_room(block), lanes(block)
    first, count = c0 * slot(block, Slot.S), (c1 - c0) * slot(block, Slot.S)
    _spread(block, slot(block, Slot.COEFFICIENTS), c0, c1, 5 if is_backward(block) else 3, kept)
    several = n0 + (n1 - n0) // rows_at_once(block) * rows_at_once(block)
    if several < n1:
        for i in range(0, count, width):
            write_rest(block, several, n1, first, i, width, kept)
    for n in range(several - rows_at_once(block), n0 - 1, -rows_at_once(block)):
        write_rows(block, n, n + rows_at_once(block), first, count, kept)
