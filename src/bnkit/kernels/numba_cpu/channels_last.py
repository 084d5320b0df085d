"""Loops over channels-last data, (N, C), where N counts all positions: a lane is a channel."""

from __future__ import annotations

from typing import Any

from numba.extending import overload, register_jitable

from bnkit.kernels.numba_cpu.arithmetic import (
    activate,
    add,
    fill,
    has_residual,
    multiply,
    multiply_add,
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
    store,
    store_first,
)
from bnkit.kernels.numba_cpu.problem import COMPILE_OPTIONS, ROWS_AT_ONCE, ROWS_PER_SUM, Slot


@register_jitable(**COMPILE_OPTIONS)
def _read(block: Any, base: int, i: int, count: int) -> Any:
    """Return the values from index i on: a whole vector, or its first `count` lanes and zeros."""
    if count >= lanes(block):
        return load(block, base, i)
    return load_first(block, base, i, count)


@register_jitable(**COMPILE_OPTIONS)
def _write(block: Any, base: int, i: int, count: int, values: Any) -> None:
    if count >= lanes(block):
        store(block, base, i, values)
    else:
        store_first(block, base, i, count, values)


def _add_rows(block: Any, i: int, rows: int, c: int, count: int, room: int) -> None:
    """Add the two sums of up to one vector of channels from c on, over a few rows, in `room`.

    Row after row, all channels: long reads. `i` is the index of the first value.
    """


@overload(_add_rows, jit_options=COMPILE_OPTIONS)
def _choose_add_rows(block: Any, i: int, rows: int, c: int, count: int, room: int) -> Any:
    return _add_gradients if block.configuration.is_backward else _add_statistics


def _add_statistics(block: Any, i: int, rows: int, c: int, count: int, room: int) -> None:
    """Add Σ (x − k) and Σ (x − k)²."""
    x, channels, stride = slot(block, Slot.X), slot(block, Slot.C), slot(block, Slot.STRIDE)
    # Lanes beyond the last channel compute what nobody reads.
    k = peek(block, slot(block, Slot.SHIFT), c)
    s0, q0 = peek(block, room, c), peek(block, room, stride + c)
    if rows == ROWS_AT_ONCE:
        v0 = subtract(_read(block, x, i, count), k)
        v1 = subtract(_read(block, x, i + channels, count), k)
        v2 = subtract(_read(block, x, i + 2 * channels, count), k)
        v3 = subtract(_read(block, x, i + 3 * channels, count), k)
        s0 = add(s0, add(add(v0, v1), add(v2, v3)))
        q1 = multiply_add(v1, v1, multiply(v0, v0))
        q0 = add(q0, multiply_add(v3, v3, multiply_add(v2, v2, q1)))
    else:
        for row in range(rows):
            v0 = subtract(_read(block, x, i + row * channels, count), k)
            s0, q0 = add(s0, v0), multiply_add(v0, v0, q0)
    poke(block, room, c, s0)
    poke(block, room, stride + c, q0)


@register_jitable(**COMPILE_OPTIONS)
def _gradient(block: Any, i: int, count: int, xmu: Any, scale: Any, shift: Any, slope: Any) -> Any:
    """Return dy behind the activation, from index i on."""
    dy = _read(block, slot(block, Slot.GRAD_OUTPUT), i, count)
    if has_residual(block):
        y = _read(block, slot(block, Slot.Y), i, count)
        return through_activation(block, dy, y, slope)
    return through_activation(block, dy, multiply_add(xmu, scale, shift), slope)


def _add_gradients(block: Any, i: int, rows: int, c: int, count: int, room: int) -> None:
    """Add Σ dy and Σ dy·(x − high).

    The dy behind an activation is the gradient of a residual: if that is wanted, it is written
    here, and read again for the gradient of x.
    """
    grad_residual = slot(block, Slot.GRAD_RESIDUAL)
    is_kept = has_residual(block) and grad_residual != 0
    x, channels, stride = slot(block, Slot.X), slot(block, Slot.C), slot(block, Slot.STRIDE)
    coefficients = slot(block, Slot.COEFFICIENTS)
    high = peek(block, coefficients, c)
    scale = peek(block, coefficients, stride + c)
    shift = peek(block, coefficients, 2 * stride + c)
    slope = fill(block, double_slot(block, Slot.NEGATIVE_SLOPE))
    s0, q0 = peek(block, room, c), peek(block, room, stride + c)
    if rows == ROWS_AT_ONCE:
        v0 = subtract(_read(block, x, i, count), high)
        v1 = subtract(_read(block, x, i + channels, count), high)
        v2 = subtract(_read(block, x, i + 2 * channels, count), high)
        v3 = subtract(_read(block, x, i + 3 * channels, count), high)
        dy0 = _gradient(block, i, count, v0, scale, shift, slope)
        dy1 = _gradient(block, i + channels, count, v1, scale, shift, slope)
        dy2 = _gradient(block, i + 2 * channels, count, v2, scale, shift, slope)
        dy3 = _gradient(block, i + 3 * channels, count, v3, scale, shift, slope)
        if is_kept:
            _write(block, grad_residual, i, count, dy0)
            _write(block, grad_residual, i + channels, count, dy1)
            _write(block, grad_residual, i + 2 * channels, count, dy2)
            _write(block, grad_residual, i + 3 * channels, count, dy3)
        s0 = add(s0, add(add(dy0, dy1), add(dy2, dy3)))
        q1 = multiply_add(dy1, v1, multiply(dy0, v0))
        q0 = add(q0, multiply_add(dy3, v3, multiply_add(dy2, v2, q1)))
    else:
        for row in range(rows):
            v0 = subtract(_read(block, x, i + row * channels, count), high)
            dy0 = _gradient(block, i + row * channels, count, v0, scale, shift, slope)
            if is_kept:
                _write(block, grad_residual, i + row * channels, count, dy0)
            s0, q0 = add(s0, dy0), multiply_add(dy0, v0, q0)
    poke(block, room, c, s0)
    poke(block, room, stride + c, q0)


@register_jitable(**COMPILE_OPTIONS)
def sum_channels_last(
    block: Any, c0: int, c1: int, n0: int, n1: int, s0: int, s1: int, sums: int
) -> None:
    """Write the two sums of each channel over a range of rows; c0 is a whole vector's first."""
    width, stride, channels = lanes(block), slot(block, Slot.STRIDE), slot(block, Slot.C)
    # Behind the doubles of this task lies room for as many values in the dtype of arithmetic.
    room, zeros = sums + 16 * stride, fill(block, 0.0)
    whole = c0 + (c1 - c0) // width * width
    for c in range(c0, c1, width):
        for lane in range(c, c + width):
            put_double(sums, lane, 0.0)
            put_double(sums, stride + lane, 0.0)
    for start in range(n0, n1, ROWS_PER_SUM):
        end = min(start + ROWS_PER_SUM, n1)
        for c in range(c0, c1, width):
            poke(block, room, c, zeros)
            poke(block, room, stride + c, zeros)
        for n in range(start, end, ROWS_AT_ONCE):
            rows, i = min(ROWS_AT_ONCE, end - n), n * channels
            for c in range(c0, whole, width):
                _add_rows(block, i + c, rows, c, width, room)
            if whole < c1:
                _add_rows(block, i + whole, rows, whole, c1 - whole, room)
        for c in range(c0, c1, width):
            add_to_doubles(sums, c, peek(block, room, c))
            add_to_doubles(sums, stride + c, peek(block, room, stride + c))


def _write_columns(block: Any, i: int, c: int, count: int) -> None:
    """Write the output of up to one vector of channels from c on, at index i."""


@overload(_write_columns, jit_options=COMPILE_OPTIONS)
def _choose_write_columns(block: Any, i: int, c: int, count: int) -> Any:
    return _write_gradients if block.configuration.is_backward else _write_y


def _write_y(block: Any, i: int, c: int, count: int) -> None:
    """Write y."""
    coefficients, stride = slot(block, Slot.COEFFICIENTS), slot(block, Slot.STRIDE)
    high = peek(block, coefficients, c)
    scale = peek(block, coefficients, stride + c)
    shift = peek(block, coefficients, 2 * stride + c)
    slope = fill(block, double_slot(block, Slot.NEGATIVE_SLOPE))
    x = _read(block, slot(block, Slot.X), i, count)
    value = multiply_add(subtract(x, high), scale, shift)
    if has_residual(block):
        value = add(value, _read(block, slot(block, Slot.RESIDUAL), i, count))
    _write(block, slot(block, Slot.Y), i, count, activate(block, value, slope))


def _write_gradients(block: Any, i: int, c: int, count: int) -> None:
    """Write the gradient of x."""
    coefficients, stride = slot(block, Slot.COEFFICIENTS), slot(block, Slot.STRIDE)
    high = peek(block, coefficients, c)
    scale = peek(block, coefficients, stride + c)
    shift = peek(block, coefficients, 2 * stride + c)
    slope = fill(block, double_slot(block, Slot.NEGATIVE_SLOPE))
    xmu = subtract(_read(block, slot(block, Slot.X), i, count), high)
    grad_residual = slot(block, Slot.GRAD_RESIDUAL)
    if has_residual(block) and grad_residual != 0:
        dy = _read(block, grad_residual, i, count)
    else:
        dy = _gradient(block, i, count, xmu, scale, shift, slope)
    # Statistics that do not depend on x pass nothing on: not even the NaN of 0·inf.
    if slot(block, Slot.M) != 0:
        projection = peek(block, coefficients, 3 * stride + c)
        constant = peek(block, coefficients, 4 * stride + c)
        dy = multiply_add(xmu, projection, add(dy, constant))
    _write(block, slot(block, Slot.GRAD_X), i, count, multiply(dy, scale))


@register_jitable(**COMPILE_OPTIONS)
def map_channels_last(block: Any, c0: int, c1: int, n0: int, n1: int, s0: int, s1: int) -> None:
    """Write the output of a range of channels and rows.

    From the first row on: what was summed last is still cached, but a processor foresees rows that
    come in order, and was seen to take twice as long over the same rows from the last one on.
    """
    channels, width = slot(block, Slot.C), lanes(block)
    whole = c0 + (c1 - c0) // width * width
    for n in range(n0, n1):
        for c in range(c0, whole, width):
            _write_columns(block, n * channels + c, c, width)
        if whole < c1:
            _write_columns(block, n * channels + whole, whole, c1 - whole)
