"""Loops over channels-last data, (N, C), where N counts all positions: a lane is a channel.

Rows are read in order. Out of a cache, several at a time: what is kept for each channel is then
loaded once for as many values. From memory one by one, because a processor foresees a single long
read best. Lanes beyond the last whole vector of channels are masked.
"""

from __future__ import annotations

from typing import Any

from numba.extending import overload, register_jitable

from bnkit.kernels.numba_cpu.arithmetic import (
    activate,
    add,
    fill,
    finite_or_zero,
    has_residual,
    multiply,
    multiply_add,
    smaller,
    subtract,
    through_activation,
)
from bnkit.kernels.numba_cpu.memory import (
    add_to_doubles,
    double_slot,
    lanes,
    load,
    load_first,
    peek,
    poke,
    put_double,
    slot,
    store_first,
)
from bnkit.kernels.numba_cpu.problem import PART_OPTIONS, ROWS_PER_SUM, SHIFT_SAMPLES, Slot
from bnkit.kernels.numba_cpu.streaming import prefetch_far, rows_at_once, write_output


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


def _add_rows(block: Any, n0: int, n1: int, c0: int, c1: int, room: int) -> None:
    """Add the two sums of whole vectors of channels over rows to those in `room`."""


@overload(_add_rows, jit_options=PART_OPTIONS)
def _choose_add_rows(block: Any, n0: int, n1: int, c0: int, c1: int, room: int) -> Any:
    return _add_gradients if block.configuration.is_backward else _add_statistics


def _add_statistics(block: Any, n0: int, n1: int, c0: int, c1: int, room: int) -> None:
    """Add Σ (x − k) and Σ (x − k)²."""
    x, channels, stride = slot(block, Slot.X), slot(block, Slot.C), slot(block, Slot.STRIDE)
    shifts, width = slot(block, Slot.SHIFT), lanes(block)
    for n in range(n0, n1, rows_at_once(block)):
        for c in range(c0, c1, width):
            i, k = n * channels + c, peek(block, shifts, c)
            s, q = peek(block, room, c), peek(block, room, stride + c)
            for row in range(rows_at_once(block)):
                prefetch_far(block, x, i + row * channels)
                v = subtract(load(block, x, i + row * channels), k)
                s, q = add(s, v), multiply_add(v, v, q)
            poke(block, room, c, s)
            poke(block, room, stride + c, q)


@register_jitable(**PART_OPTIONS)
def _gradient(block: Any, i: int, xmu: Any, scale: Any, shift: Any, slope: Any) -> Any:
    """Return dy behind the activation, from index i on."""
    prefetch_far(block, slot(block, Slot.GRAD_OUTPUT), i)
    dy = load(block, slot(block, Slot.GRAD_OUTPUT), i)
    if not has_residual(block):
        return through_activation(block, dy, multiply_add(xmu, scale, shift), slope)
    prefetch_far(block, slot(block, Slot.Y), i)
    return through_activation(block, dy, load(block, slot(block, Slot.Y), i), slope)


def _add_gradients(block: Any, n0: int, n1: int, c0: int, c1: int, room: int) -> None:
    """Add Σ dy and Σ dy·(x − high)."""
    x, channels, stride = slot(block, Slot.X), slot(block, Slot.C), slot(block, Slot.STRIDE)
    coefficients, width = slot(block, Slot.COEFFICIENTS), lanes(block)
    slope = fill(block, double_slot(block, Slot.NEGATIVE_SLOPE))
    for n in range(n0, n1, rows_at_once(block)):
        for c in range(c0, c1, width):
            i, high = n * channels + c, peek(block, coefficients, c)
            scale = peek(block, coefficients, stride + c)
            shift = peek(block, coefficients, 2 * stride + c)
            s, q = peek(block, room, c), peek(block, room, stride + c)
            for row in range(rows_at_once(block)):
                at = i + row * channels
                prefetch_far(block, x, at)
                v = subtract(load(block, x, at), high)
                dy = _gradient(block, at, v, scale, shift, slope)
                s, q = add(s, dy), multiply_add(dy, v, q)
            poke(block, room, c, s)
            poke(block, room, stride + c, q)


def _add_part(block: Any, n0: int, n1: int, c: int, count: int, room: int) -> None:
    """Add the two sums of up to one vector of channels from c on over rows one by one."""


@overload(_add_part, jit_options=PART_OPTIONS)
def _choose_add_part(block: Any, n0: int, n1: int, c: int, count: int, room: int) -> Any:
    return _add_part_of_gradients if block.configuration.is_backward else _add_part_of_statistics


def _add_part_of_statistics(block: Any, n0: int, n1: int, c: int, count: int, room: int) -> None:
    """Add Σ (x − k) and Σ (x − k)²; lanes beyond the last channel compute what nobody reads."""
    x, channels, stride = slot(block, Slot.X), slot(block, Slot.C), slot(block, Slot.STRIDE)
    k = peek(block, slot(block, Slot.SHIFT), c)
    s, q = peek(block, room, c), peek(block, room, stride + c)
    for n in range(n0, n1):
        v = subtract(load_first(block, x, n * channels + c, count), k)
        s, q = add(s, v), multiply_add(v, v, q)
    poke(block, room, c, s)
    poke(block, room, stride + c, q)


@register_jitable(**PART_OPTIONS)
def _gradient_of_part(
    block: Any, i: int, count: int, xmu: Any, scale: Any, shift: Any, slope: Any
) -> Any:
    """Return dy behind the activation of `count` values from index i on, and zeros."""
    dy = load_first(block, slot(block, Slot.GRAD_OUTPUT), i, count)
    if has_residual(block):
        y = load_first(block, slot(block, Slot.Y), i, count)
        return through_activation(block, dy, y, slope)
    return through_activation(block, dy, multiply_add(xmu, scale, shift), slope)


def _add_part_of_gradients(block: Any, n0: int, n1: int, c: int, count: int, room: int) -> None:
    """Add Σ dy and Σ dy·(x − high)."""
    x, channels, stride = slot(block, Slot.X), slot(block, Slot.C), slot(block, Slot.STRIDE)
    coefficients = slot(block, Slot.COEFFICIENTS)
    high = peek(block, coefficients, c)
    scale = peek(block, coefficients, stride + c)
    shift = peek(block, coefficients, 2 * stride + c)
    slope = fill(block, double_slot(block, Slot.NEGATIVE_SLOPE))
    s, q = peek(block, room, c), peek(block, room, stride + c)
    for n in range(n0, n1):
        i = n * channels + c
        v = subtract(load_first(block, x, i, count), high)
        dy = _gradient_of_part(block, i, count, v, scale, shift, slope)
        s, q = add(s, dy), multiply_add(dy, v, q)
    poke(block, room, c, s)
    poke(block, room, stride + c, q)


@register_jitable(**PART_OPTIONS)
def sum_channels_last(
    block: Any, c0: int, c1: int, n0: int, n1: int, s0: int, s1: int, sums: int
) -> None:
    """Write the two sums of each channel over a range of rows; c0 is a whole vector's first."""
    width, stride = lanes(block), slot(block, Slot.STRIDE)
    # Behind the doubles of this task lies room for as many values in the dtype of arithmetic.
    room, zeros = sums + 16 * stride, fill(block, 0.0)
    whole = c0 + (c1 - c0) // width * width
    # A task takes all channels of its rows.
    for i in range(2 * stride):
        put_double(sums, i, 0.0)
    for start in range(n0, n1, ROWS_PER_SUM):
        end = smaller(start + ROWS_PER_SUM, n1)
        several = start + (end - start) // rows_at_once(block) * rows_at_once(block)
        for c in range(c0, c1, width):
            poke(block, room, c, zeros)
            poke(block, room, stride + c, zeros)
        _add_rows(block, start, several, c0, whole, room)
        for c in range(c0, c1, width):
            # The rows that are left over; of the channels that are, all.
            first = several if c < whole else start
            if first < end:
                _add_part(block, first, end, c, smaller(width, c1 - c), room)
        for c in range(c0, c1, width):
            add_to_doubles(sums, c, peek(block, room, c))
            add_to_doubles(sums, stride + c, peek(block, room, stride + c))


def _write_rows(block: Any, n0: int, n1: int, c0: int, c1: int) -> None:
    """Write the output of whole vectors of channels over rows, several at once."""


@overload(_write_rows, jit_options=PART_OPTIONS)
def _choose_write_rows(block: Any, n0: int, n1: int, c0: int, c1: int) -> Any:
    return _write_gradients if block.configuration.is_backward else _write_y


@register_jitable(**PART_OPTIONS)
def _write_y_at(block: Any, i: int, high: Any, scale: Any, shift: Any, slope: Any) -> None:
    prefetch_far(block, slot(block, Slot.X), i)
    value = multiply_add(subtract(load(block, slot(block, Slot.X), i), high), scale, shift)
    if has_residual(block):
        prefetch_far(block, slot(block, Slot.RESIDUAL), i)
        value = add(value, load(block, slot(block, Slot.RESIDUAL), i))
    write_output(block, slot(block, Slot.Y), i, activate(block, value, slope))


def _write_y(block: Any, n0: int, n1: int, c0: int, c1: int) -> None:
    """Write y."""
    coefficients, stride = slot(block, Slot.COEFFICIENTS), slot(block, Slot.STRIDE)
    channels, width = slot(block, Slot.C), lanes(block)
    slope = fill(block, double_slot(block, Slot.NEGATIVE_SLOPE))
    for n in range(n0, n1, rows_at_once(block)):
        for c in range(c0, c1, width):
            i, high = n * channels + c, peek(block, coefficients, c)
            scale = peek(block, coefficients, stride + c)
            shift = peek(block, coefficients, 2 * stride + c)
            for row in range(rows_at_once(block)):
                _write_y_at(block, i + row * channels, high, scale, shift, slope)


@register_jitable(**PART_OPTIONS)
def _write_gradient_at(
    block: Any,
    i: int,
    high: Any,
    scale: Any,
    shift: Any,
    projection: Any,
    constant: Any,
    slope: Any,
) -> None:
    grad_residual = slot(block, Slot.GRAD_RESIDUAL)
    prefetch_far(block, slot(block, Slot.X), i)
    xmu = subtract(load(block, slot(block, Slot.X), i), high)
    dy = _gradient(block, i, xmu, scale, shift, slope)
    if has_residual(block) and grad_residual != 0:
        write_output(block, grad_residual, i, dy)
    # Statistics that do not depend on x pass nothing on: not even the NaN of 0·inf.
    if slot(block, Slot.M) != 0:
        dy = multiply_add(xmu, projection, add(dy, constant))
    if slot(block, Slot.GRAD_X) != 0:
        write_output(block, slot(block, Slot.GRAD_X), i, multiply(dy, scale))


def _write_gradients(block: Any, n0: int, n1: int, c0: int, c1: int) -> None:
    """Write the gradients of x, and of the residual."""
    coefficients, stride = slot(block, Slot.COEFFICIENTS), slot(block, Slot.STRIDE)
    channels, width = slot(block, Slot.C), lanes(block)
    slope = fill(block, double_slot(block, Slot.NEGATIVE_SLOPE))
    for n in range(n0, n1, rows_at_once(block)):
        for c in range(c0, c1, width):
            i, high = n * channels + c, peek(block, coefficients, c)
            scale = peek(block, coefficients, stride + c)
            shift = peek(block, coefficients, 2 * stride + c)
            projection = peek(block, coefficients, 3 * stride + c)
            constant = peek(block, coefficients, 4 * stride + c)
            for row in range(rows_at_once(block)):
                _write_gradient_at(
                    block, i + row * channels, high, scale, shift, projection, constant, slope
                )


def _write_part(block: Any, n0: int, n1: int, c: int, count: int) -> None:
    """Write the output of up to one vector of channels from c on over rows one by one."""


@overload(_write_part, jit_options=PART_OPTIONS)
def _choose_write_part(block: Any, n0: int, n1: int, c: int, count: int) -> Any:
    return _write_part_of_gradients if block.configuration.is_backward else _write_part_of_y


def _write_part_of_y(block: Any, n0: int, n1: int, c: int, count: int) -> None:
    """Write y."""
    coefficients, stride = slot(block, Slot.COEFFICIENTS), slot(block, Slot.STRIDE)
    x, y, residual = slot(block, Slot.X), slot(block, Slot.Y), slot(block, Slot.RESIDUAL)
    high = peek(block, coefficients, c)
    scale = peek(block, coefficients, stride + c)
    shift = peek(block, coefficients, 2 * stride + c)
    slope = fill(block, double_slot(block, Slot.NEGATIVE_SLOPE))
    for n in range(n0, n1):
        i = n * slot(block, Slot.C) + c
        value = multiply_add(subtract(load_first(block, x, i, count), high), scale, shift)
        if has_residual(block):
            value = add(value, load_first(block, residual, i, count))
        store_first(block, y, i, count, activate(block, value, slope))


def _write_part_of_gradients(block: Any, n0: int, n1: int, c: int, count: int) -> None:
    """Write the gradients of x, and of the residual."""
    coefficients, stride = slot(block, Slot.COEFFICIENTS), slot(block, Slot.STRIDE)
    high = peek(block, coefficients, c)
    scale = peek(block, coefficients, stride + c)
    shift = peek(block, coefficients, 2 * stride + c)
    projection = peek(block, coefficients, 3 * stride + c)
    constant = peek(block, coefficients, 4 * stride + c)
    slope = fill(block, double_slot(block, Slot.NEGATIVE_SLOPE))
    grad_residual = slot(block, Slot.GRAD_RESIDUAL)
    for n in range(n0, n1):
        i = n * slot(block, Slot.C) + c
        xmu = subtract(load_first(block, slot(block, Slot.X), i, count), high)
        dy = _gradient_of_part(block, i, count, xmu, scale, shift, slope)
        if has_residual(block) and grad_residual != 0:
            store_first(block, grad_residual, i, count, dy)
        if slot(block, Slot.M) != 0:
            dy = multiply_add(xmu, projection, add(dy, constant))
        if slot(block, Slot.GRAD_X) != 0:
            store_first(block, slot(block, Slot.GRAD_X), i, count, multiply(dy, scale))


@register_jitable(**PART_OPTIONS)
def map_channels_last(block: Any, c0: int, c1: int, n0: int, n1: int, s0: int, s1: int) -> None:
    """Write the output of a range of channels and rows.

    From the first row on: what was summed last is still cached, but a processor foresees rows that
    come in order, and was seen to take twice as long over the same rows from the last one on.
    """
    width = lanes(block)
    whole = c0 + (c1 - c0) // width * width
    for start in range(n0, n1, ROWS_PER_SUM):
        end = smaller(start + ROWS_PER_SUM, n1)
        several = start + (end - start) // rows_at_once(block) * rows_at_once(block)
        _write_rows(block, start, several, c0, whole)
        for c in range(c0, c1, width):
            first = several if c < whole else start
            if first < end:
                _write_part(block, first, end, c, smaller(width, c1 - c))
