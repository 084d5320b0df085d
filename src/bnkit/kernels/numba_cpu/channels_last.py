"""Loops over channels-last data, (N, C), where N counts all positions: a column is a channel.

Rows are read in order. Out of a cache, several at a time; from memory one by one, because a
processor foresees a single long read best. Lanes beyond the last whole vector of channels are
masked. A task takes all channels of its rows.
"""

from __future__ import annotations

from typing import Any

from numba.extending import register_jitable

from bnkit.kernels.numba_cpu.arithmetic import (
    fill,
    finite_or_zero,
    is_backward,
    multiply_add,
    smaller,
)
from bnkit.kernels.numba_cpu.columns import add_rest, add_rows, write_rest, write_rows
from bnkit.kernels.numba_cpu.doubles import add_to_doubles, put_double
from bnkit.kernels.numba_cpu.memory import (
    lanes,
    load_first,
    peek,
    poke,
    slot,
)
from bnkit.kernels.numba_cpu.problem import PART_OPTIONS, ROWS_PER_SUM, SHIFT_SAMPLES, Slot
from bnkit.kernels.numba_cpu.streaming import rows_at_once


@register_jitable(**PART_OPTIONS)
def choose_shifts_channels_last(block: Any, c0: int, c1: int) -> None:
    """Keep the mean of a few values of each channel: near its mean, if they are like the others."""
    x, channels, rows = slot(block, Slot.X), slot(block, Slot.C), slot(block, Slot.N)
    count = smaller(SHIFT_SAMPLES, rows)
    share = fill(block, 1.0 / count)
    for c in range(c0, c1, lanes(block)):
        mean = fill(block, 0.0)
        for sample in range(count):
            value = load_first(block, x, sample * (rows // count) * channels + c, c1 - c)
            mean = multiply_add(value, share, mean)
        poke(block, slot(block, Slot.SHIFT), c, finite_or_zero(mean))


@register_jitable(**PART_OPTIONS)
def sum_channels_last(
    block: Any, c0: int, c1: int, n0: int, n1: int, s0: int, s1: int, sums: int
) -> None:
    """Write the two sums of each channel over a range of rows."""
    width, stride = lanes(block), slot(block, Slot.STRIDE)
    kept = slot(block, Slot.COEFFICIENTS) if is_backward(block) else slot(block, Slot.SHIFT)
    # Behind the doubles of this task lies room for as many values in the dtype of arithmetic.
    room, zeros = sums + 16 * stride, fill(block, 0.0)
    whole = c1 // width * width
    for i in range(2 * stride):
        put_double(sums, i, 0.0)
    for start in range(n0, n1, ROWS_PER_SUM):
        end = smaller(start + ROWS_PER_SUM, n1)
        several = start + (end - start) // rows_at_once(block) * rows_at_once(block)
        for c in range(0, c1, width):
            poke(block, room, c, zeros)
            poke(block, room, stride + c, zeros)
        add_rows(block, start, several, 0, whole, kept, room)
        for c in range(0, c1, width):
            # The rows that are left over; of the channels that are, all.
            n = several if c < whole else start
            if n < end:
                add_rest(block, n, end, 0, c, smaller(width, c1 - c), kept, room)
        for c in range(0, c1, width):
            add_to_doubles(sums, c, peek(block, room, c))
            add_to_doubles(sums, stride + c, peek(block, room, stride + c))


@register_jitable(**PART_OPTIONS)
def map_channels_last(block: Any, c0: int, c1: int, n0: int, n1: int, s0: int, s1: int) -> None:
    """Write the output of a range of rows.

    From the first row on: what was summed last is still cached, but a processor foresees rows that
    come in order, and was seen to take twice as long over the same rows from the last one on.
    """
    width, kept = lanes(block), slot(block, Slot.COEFFICIENTS)
    whole = c1 // width * width
    for start in range(n0, n1, ROWS_PER_SUM):
        end = smaller(start + ROWS_PER_SUM, n1)
        several = start + (end - start) // rows_at_once(block) * rows_at_once(block)
        write_rows(block, start, several, 0, whole, kept)
        for c in range(0, c1, width):
            n = several if c < whole else start
            if n < end:
                write_rest(block, n, end, 0, c, smaller(width, c1 - c), kept)
