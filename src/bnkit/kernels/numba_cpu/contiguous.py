"""Loops over contiguous data, (N, C, S): a row of S values belongs to one channel.

Several channels share a pass, so that short rows make one long read of memory. Sums of few rows
are kept in vectors of the dtype of arithmetic and then join doubles.
"""

from __future__ import annotations

import math
from typing import Any

from numba.extending import overload, register_jitable

from bnkit.kernels.numba_cpu.arithmetic import (
    activate,
    add,
    fill,
    has_residual,
    is_backward,
    keep_first,
    larger,
    multiply,
    multiply_add,
    smaller,
    subtract,
    total,
)
from bnkit.kernels.numba_cpu.doubles import add_double, put_double
from bnkit.kernels.numba_cpu.gradients import gradient, gradient_of_part
from bnkit.kernels.numba_cpu.memory import (
    double_slot,
    lanes,
    load,
    load_first,
    peek,
    peek_one,
    poke,
    poke_one,
    prefetch,
    prefetch_next,
    scratch,
    slot,
    store_first,
    value_at,
    value_bytes,
)
from bnkit.kernels.numba_cpu.problem import (
    BYTES_PER_PASS,
    CACHE_LINE,
    CHANNELS_PER_PASS,
    GATHERED_BYTES,
    PART_OPTIONS,
    SEGMENT,
    SHIFT_SAMPLES,
    SHORT_SEGMENT,
    Slot,
)
from bnkit.kernels.numba_cpu.streaming import (
    prefetch_output,
    stream_gathered,
    values_before_boundary,
    write_output,
)


@register_jitable(**PART_OPTIONS)
def choose_shifts_contiguous(block: Any, c0: int, c1: int) -> None:
    """Keep the mean of a few values of each channel: near its mean, if they are like the others."""
    size, rows = slot(block, Slot.S), slot(block, Slot.N)
    # Along the first row, which is about to be read, or at the start of several that are short.
    count, jump = SHIFT_SAMPLES, size // SHIFT_SAMPLES
    if size < SHIFT_SAMPLES:
        count = smaller(SHIFT_SAMPLES, rows)
        jump = rows // count * slot(block, Slot.C) * size
    for c in range(c0, c1):
        mean = 0.0
        for sample in range(count):
            mean += value_at(block, slot(block, Slot.X), c * size + sample * jump)
        mean /= count
        poke_one(block, slot(block, Slot.SHIFT), c, mean if math.isfinite(mean) else 0.0)


@register_jitable(**PART_OPTIONS)
def _channels_per_pass(block: Any) -> int:
    fitting = BYTES_PER_PASS // (slot(block, Slot.S) * value_bytes(block))
    channels: int = larger(1, smaller(CHANNELS_PER_PASS, fitting))
    return channels


@register_jitable(**PART_OPTIONS)
def _next_row(block: Any) -> int:
    """Return how far the next row of a channel is: too far for a processor to foresee.

    Within a long row it foresees well, and asking for the next one pushes too much else out.
    """
    size: int = slot(block, Slot.S)
    if size * value_bytes(block) > 2 * BYTES_PER_PASS:
        return 0
    return size * int(slot(block, Slot.C))


@register_jitable(**PART_OPTIONS)
def _clear(block: Any, room: int, count: int) -> None:
    zeros = fill(block, 0.0)
    for i in range(2 * count):
        poke(block, room, i * lanes(block), zeros)


@register_jitable(**PART_OPTIONS)
def _collect(block: Any, room: int, first: int, last: int, sums: int) -> None:
    """Add the vectors of channels first … last − 1 to their two doubles."""
    stride, width = slot(block, Slot.STRIDE), lanes(block)
    for c in range(first, last):
        place = 2 * (c - first) * width
        add_double(sums, c, total(peek(block, room, place)))
        add_double(sums, stride + c, total(peek(block, room, place + width)))


def _add_row(block: Any, row: int, count: int, c: int, room: int, place: int) -> None:
    """Add the two sums of `count` values from `row` on to the vectors at `place`."""


@overload(_add_row, jit_options=PART_OPTIONS)
def _choose_add_row(block: Any, row: int, count: int, c: int, room: int, place: int) -> Any:
    return _add_row_of_gradients if block.configuration.is_backward else _add_row_of_statistics


def _add_row_of_statistics(block: Any, row: int, count: int, c: int, room: int, place: int) -> None:
    """Add Σ (x − k) and Σ (x − k)² of `count` values from `row` on to the vectors at `place`."""
    x, width, zeros = slot(block, Slot.X), lanes(block), fill(block, 0.0)
    k = peek_one(block, slot(block, Slot.SHIFT), c)
    s0, q0 = peek(block, room, place), peek(block, room, place + width)
    s1, s2, s3, q1, q2, q3 = zeros, zeros, zeros, zeros, zeros, zeros
    ahead = _next_row(block)
    end = row + count
    i = row
    while i + 4 * width <= end:
        for line in range(i + ahead, i + ahead + 4 * width, width):
            prefetch(block, x, line)
        v0 = subtract(load(block, x, i), k)
        v1 = subtract(load(block, x, i + width), k)
        v2 = subtract(load(block, x, i + 2 * width), k)
        v3 = subtract(load(block, x, i + 3 * width), k)
        s0, s1, s2, s3 = add(s0, v0), add(s1, v1), add(s2, v2), add(s3, v3)
        q0, q1 = multiply_add(v0, v0, q0), multiply_add(v1, v1, q1)
        q2, q3 = multiply_add(v2, v2, q2), multiply_add(v3, v3, q3)
        i += 4 * width
    while i + width <= end:
        prefetch(block, x, i + ahead)
        v0 = subtract(load(block, x, i), k)
        s0, q0 = add(s0, v0), multiply_add(v0, v0, q0)
        i += width
    if i < end:
        v1 = keep_first(subtract(load_first(block, x, i, end - i), k), end - i)
        s1, q1 = add(s1, v1), multiply_add(v1, v1, q1)
    poke(block, room, place, add(add(s0, s1), add(s2, s3)))
    poke(block, room, place + width, add(add(q0, q1), add(q2, q3)))


@register_jitable(**PART_OPTIONS)
def _prefetch_for_gradient(block: Any, i: int) -> None:
    """Ask for what `gradient` reads, and for x."""
    prefetch(block, slot(block, Slot.X), i)
    prefetch(block, slot(block, Slot.GRAD_OUTPUT), i)
    if has_residual(block):
        prefetch(block, slot(block, Slot.Y), i)


def _add_row_of_gradients(block: Any, row: int, count: int, c: int, room: int, place: int) -> None:
    """Add Σ dy and Σ dy·(x − high) of `count` values from `row` on to the vectors at `place`."""
    x, width, zeros = slot(block, Slot.X), lanes(block), fill(block, 0.0)
    coefficients, stride = slot(block, Slot.COEFFICIENTS), slot(block, Slot.STRIDE)
    high = peek_one(block, coefficients, c)
    scale = peek_one(block, coefficients, stride + c)
    shift = peek_one(block, coefficients, 2 * stride + c)
    slope = fill(block, double_slot(block, Slot.NEGATIVE_SLOPE))
    s0, q0 = peek(block, room, place), peek(block, room, place + width)
    s1, q1 = zeros, zeros
    ahead = _next_row(block)
    end = row + count
    i = row
    while i + 2 * width <= end:
        for line in range(i + ahead, i + ahead + 2 * width, width):
            _prefetch_for_gradient(block, line)
        v0 = subtract(load(block, x, i), high)
        v1 = subtract(load(block, x, i + width), high)
        dy0 = gradient(block, i, v0, scale, shift, slope)
        dy1 = gradient(block, i + width, v1, scale, shift, slope)
        s0, s1 = add(s0, dy0), add(s1, dy1)
        q0, q1 = multiply_add(dy0, v0, q0), multiply_add(dy1, v1, q1)
        i += 2 * width
    if i + width <= end:
        _prefetch_for_gradient(block, i + ahead)
        v0 = subtract(load(block, x, i), high)
        dy0 = gradient(block, i, v0, scale, shift, slope)
        s0, q0 = add(s0, dy0), multiply_add(dy0, v0, q0)
        i += width
    if i < end:
        rest = end - i
        v0 = keep_first(subtract(load_first(block, x, i, rest), high), rest)
        dy0 = gradient_of_part(block, i, rest, v0, scale, shift, slope)
        s0, q0 = add(s0, dy0), multiply_add(dy0, v0, q0)
    poke(block, room, place, add(s0, s1))
    poke(block, room, place + width, add(q0, q1))


@register_jitable(**PART_OPTIONS)
def sum_contiguous(
    block: Any,
    c0: int,
    c1: int,
    n0: int,
    n1: int,
    s0: int,
    s1: int,
    sums: int,
) -> None:
    """Write the two sums of each channel over a range of N and S."""
    room, width, stride = scratch(block), lanes(block), slot(block, Slot.STRIDE)
    per_pass = _channels_per_pass(block)
    for first in range(c0, c1, per_pass):
        last = smaller(first + per_pass, c1)
        for c in range(first, last):
            put_double(sums, c, 0.0)
            put_double(sums, stride + c, 0.0)
        for start in range(s0, s1, SEGMENT):
            count = smaller(SEGMENT, s1 - start)
            rows = larger(1, SHORT_SEGMENT // count)
            for n_start in range(n0, n1, rows):
                _clear(block, room, last - first)
                for n in range(n_start, smaller(n_start + rows, n1)):
                    for c in range(first, last):
                        row = (n * slot(block, Slot.C) + c) * slot(block, Slot.S) + start
                        place = 2 * (c - first) * width
                        _add_row(block, row, count, c, room, place)
                _collect(block, room, first, last, sums)


def _write_row(block: Any, row: int, count: int, c: int, output: int, beside: int) -> None:
    """Write the output of `count` values from `row` on.

    Index 0 of it lies at address `output`, and at `beside` that of the residual's gradient; 0 if
    one of them is not wanted.
    """


@overload(_write_row, jit_options=PART_OPTIONS)
def _choose_write_row(block: Any, row: int, count: int, c: int, output: int, beside: int) -> Any:
    return _write_row_of_gradients if block.configuration.is_backward else _write_row_of_y


def _write_row_of_y(block: Any, row: int, count: int, c: int, output: int, beside: int) -> None:
    """Write y of `count` values from `row` on."""
    x, residual = slot(block, Slot.X), slot(block, Slot.RESIDUAL)
    coefficients, stride = slot(block, Slot.COEFFICIENTS), slot(block, Slot.STRIDE)
    width = lanes(block)
    high = peek_one(block, coefficients, c)
    scale = peek_one(block, coefficients, stride + c)
    shift = peek_one(block, coefficients, 2 * stride + c)
    slope = fill(block, double_slot(block, Slot.NEGATIVE_SLOPE))
    ahead, end = _next_row(block), row + count
    i = row
    part = smaller(values_before_boundary(block, output, row), count)
    while i < end:
        if part != 0:
            value = multiply_add(subtract(load_first(block, x, i, part), high), scale, shift)
            if has_residual(block):
                value = add(value, load_first(block, residual, i, part))
            store_first(block, output, i, part, activate(block, value, slope))
            i += part
        while i + width <= end:
            prefetch_output(block, output, i - ahead)
            if has_residual(block):
                prefetch(block, residual, i - ahead)
            prefetch_next(block, x, i)
            value = multiply_add(subtract(load(block, x, i), high), scale, shift)
            if has_residual(block):
                value = add(value, load(block, residual, i))
            write_output(block, output, i, activate(block, value, slope))
            i += width
        part = end - i


def _write_row_of_gradients(
    block: Any, row: int, count: int, c: int, output: int, beside: int
) -> None:
    """Write the gradients of x, and of the residual, of `count` values from `row` on."""
    x, width = slot(block, Slot.X), lanes(block)
    coefficients, stride = slot(block, Slot.COEFFICIENTS), slot(block, Slot.STRIDE)
    high = peek_one(block, coefficients, c)
    scale = peek_one(block, coefficients, stride + c)
    shift = peek_one(block, coefficients, 2 * stride + c)
    projection = peek_one(block, coefficients, 3 * stride + c)
    constant = peek_one(block, coefficients, 4 * stride + c)
    slope = fill(block, double_slot(block, Slot.NEGATIVE_SLOPE))
    has_x, has_beside = output != 0, has_residual(block) and beside != 0
    # Statistics that do not depend on x pass nothing on: not even the NaN of 0·inf.
    is_fixed = slot(block, Slot.M) == 0
    ahead, end = _next_row(block), row + count
    i = row
    part = smaller(values_before_boundary(block, output if has_x else beside, row), count)
    while i < end:
        if part != 0:
            xmu = subtract(load_first(block, x, i, part), high)
            dy = gradient_of_part(block, i, part, xmu, scale, shift, slope)
            if has_beside:
                store_first(block, beside, i, part, dy)
            if not is_fixed:
                dy = multiply_add(xmu, projection, add(dy, constant))
            if has_x:
                store_first(block, output, i, part, multiply(dy, scale))
            i += part
        while i + width <= end:
            prefetch_next(block, x, i)
            prefetch_next(block, slot(block, Slot.GRAD_OUTPUT), i)
            if has_residual(block):
                prefetch_next(block, slot(block, Slot.Y), i)
            xmu = subtract(load(block, x, i), high)
            dy = gradient(block, i, xmu, scale, shift, slope)
            if has_beside:
                prefetch_output(block, beside, i - ahead)
                write_output(block, beside, i, dy)
            if not is_fixed:
                dy = multiply_add(xmu, projection, add(dy, constant))
            if has_x:
                prefetch_output(block, output, i - ahead)
                write_output(block, output, i, multiply(dy, scale))
            i += width
        part = end - i


@register_jitable(**PART_OPTIONS)
def _gather_rows(
    block: Any, n: int, c0: int, c1: int, s0: int, s1: int, output: int, beside: int
) -> None:
    """Write the output of a range of channels and S at one n, as long streams."""
    size, c_all, s_all = value_bytes(block), slot(block, Slot.C), slot(block, Slot.S)
    room, room_beside, count = scratch(block), scratch(block), s1 - s0
    per_stream = GATHERED_BYTES // (count * size) if count == s_all else 1
    for first in range(c0, c1, per_stream):
        last = smaller(first + per_stream, c1)
        start = ((n * c_all + first) * s_all + s0) * size
        # Both tensors begin with a cache line, and so with the same offset.
        offset, bytes_written = start % CACHE_LINE, (last - first) * count * size
        source = room + offset - start if output != 0 else 0
        source_beside = room_beside + offset - start if beside != 0 else 0
        for c in range(first, last):
            row = (n * c_all + c) * s_all + s0
            _write_row(block, row, count, c, source, source_beside)
        if output != 0:
            stream_gathered(block, room + offset, output + start, bytes_written)
        if beside != 0:
            stream_gathered(block, room_beside + offset, beside + start, bytes_written)


@register_jitable(**PART_OPTIONS)
def map_contiguous(block: Any, c0: int, c1: int, n0: int, n1: int, s0: int, s1: int) -> None:
    """Write the output of a range of channels, N and S: what was summed last is still cached."""
    output = slot(block, Slot.GRAD_X) if is_backward(block) else slot(block, Slot.Y)
    beside = slot(block, Slot.GRAD_RESIDUAL) if is_backward(block) else 0
    for n in range(n1 - 1, n0 - 1, -1):
        for c in range(c0, c1):
            row = (n * slot(block, Slot.C) + c) * slot(block, Slot.S) + s0
            _write_row(block, row, s1 - s0, c, output, beside)


@register_jitable(**PART_OPTIONS)
def map_gathered(block: Any, c0: int, c1: int, n0: int, n1: int, s0: int, s1: int) -> None:
    """Do what `map_contiguous` does, and gather short rows before they are streamed."""
    output = slot(block, Slot.GRAD_X) if is_backward(block) else slot(block, Slot.Y)
    beside = slot(block, Slot.GRAD_RESIDUAL) if is_backward(block) else 0
    for n in range(n1 - 1, n0 - 1, -1):
        _gather_rows(block, n, c0, c1, s0, s1, output, beside)
