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
    put_double,
    slot,
    store,
    store_first,
)
from bnkit.kernels.numba_cpu.problem import COMPILE_OPTIONS, ROWS_PER_SUM, Slot


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


def _add_columns(block: Any, c: int, count: int, n0: int, n1: int, sums: int) -> None:
    """Add the two sums of up to one vector of channels from c on, over rows n0 … n1 − 1."""


@overload(_add_columns, jit_options=COMPILE_OPTIONS)
def _choose_add_columns(block: Any, c: int, count: int, n0: int, n1: int, sums: int) -> Any:
    return _add_gradients if block.configuration.is_backward else _add_statistics


def _add_statistics(block: Any, c: int, count: int, n0: int, n1: int, sums: int) -> None:
    """Add Σ (x − k) and Σ (x − k)²."""
    x, channels, zeros = slot(block, Slot.X), slot(block, Slot.C), fill(block, 0.0)
    # Lanes beyond the last channel hold zeros, here and in x.
    k = peek(block, slot(block, Slot.SHIFT), c)
    s0, s1, q0, q1 = zeros, zeros, zeros, zeros
    n = n0
    while n + 2 <= n1:
        v0 = subtract(_read(block, x, n * channels + c, count), k)
        v1 = subtract(_read(block, x, (n + 1) * channels + c, count), k)
        s0, s1 = add(s0, v0), add(s1, v1)
        q0, q1 = multiply_add(v0, v0, q0), multiply_add(v1, v1, q1)
        n += 2
    if n < n1:
        v0 = subtract(_read(block, x, n * channels + c, count), k)
        s0, q0 = add(s0, v0), multiply_add(v0, v0, q0)
    add_to_doubles(sums, c, add(s0, s1))
    add_to_doubles(sums, slot(block, Slot.STRIDE) + c, add(q0, q1))


@register_jitable(**COMPILE_OPTIONS)
def _gradient(block: Any, i: int, count: int, xmu: Any, scale: Any, shift: Any, slope: Any) -> Any:
    """Return dy behind the activation, from index i on."""
    dy = _read(block, slot(block, Slot.GRAD_OUTPUT), i, count)
    if has_residual(block):
        y = _read(block, slot(block, Slot.Y), i, count)
        return through_activation(block, dy, y, slope)
    return through_activation(block, dy, multiply_add(xmu, scale, shift), slope)


def _add_gradients(block: Any, c: int, count: int, n0: int, n1: int, sums: int) -> None:
    """Add Σ dy and Σ dy·(x − high)."""
    x, channels, zeros = slot(block, Slot.X), slot(block, Slot.C), fill(block, 0.0)
    coefficients, stride = slot(block, Slot.COEFFICIENTS), slot(block, Slot.STRIDE)
    high = peek(block, coefficients, c)
    scale = peek(block, coefficients, stride + c)
    shift = peek(block, coefficients, 2 * stride + c)
    slope = fill(block, double_slot(block, Slot.NEGATIVE_SLOPE))
    s0, s1, q0, q1 = zeros, zeros, zeros, zeros
    n = n0
    while n + 2 <= n1:
        i = n * channels + c
        v0 = subtract(_read(block, x, i, count), high)
        v1 = subtract(_read(block, x, i + channels, count), high)
        dy0 = _gradient(block, i, count, v0, scale, shift, slope)
        dy1 = _gradient(block, i + channels, count, v1, scale, shift, slope)
        s0, s1 = add(s0, dy0), add(s1, dy1)
        q0, q1 = multiply_add(dy0, v0, q0), multiply_add(dy1, v1, q1)
        n += 2
    if n < n1:
        i = n * channels + c
        v0 = subtract(_read(block, x, i, count), high)
        dy0 = _gradient(block, i, count, v0, scale, shift, slope)
        s0, q0 = add(s0, dy0), multiply_add(dy0, v0, q0)
    add_to_doubles(sums, c, add(s0, s1))
    add_to_doubles(sums, stride + c, add(q0, q1))


@register_jitable(**COMPILE_OPTIONS)
def sum_channels_last(
    block: Any, c0: int, c1: int, n0: int, n1: int, s0: int, s1: int, sums: int
) -> None:
    """Write the two sums of each channel over a range of rows; c0 is a whole vector's first."""
    width, stride = lanes(block), slot(block, Slot.STRIDE)
    for c in range(c0, -(-c1 // width) * width):
        put_double(sums, c, 0.0)
        put_double(sums, stride + c, 0.0)
    for start in range(n0, n1, ROWS_PER_SUM):
        end = min(start + ROWS_PER_SUM, n1)
        whole = c0 + (c1 - c0) // width * width
        for c in range(c0, whole, width):
            _add_columns(block, c, width, start, end, sums)
        if whole < c1:
            _add_columns(block, whole, c1 - whole, start, end, sums)


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
    """Write the gradients of x and of the residual."""
    coefficients, stride = slot(block, Slot.COEFFICIENTS), slot(block, Slot.STRIDE)
    high = peek(block, coefficients, c)
    scale = peek(block, coefficients, stride + c)
    shift = peek(block, coefficients, 2 * stride + c)
    slope = fill(block, double_slot(block, Slot.NEGATIVE_SLOPE))
    xmu = subtract(_read(block, slot(block, Slot.X), i, count), high)
    dy = _gradient(block, i, count, xmu, scale, shift, slope)
    if slot(block, Slot.GRAD_RESIDUAL) != 0:
        _write(block, slot(block, Slot.GRAD_RESIDUAL), i, count, dy)
    if slot(block, Slot.GRAD_X) != 0:
        # Statistics that do not depend on x pass nothing on: not even the NaN of 0·inf.
        if slot(block, Slot.M) != 0:
            projection = peek(block, coefficients, 3 * stride + c)
            constant = peek(block, coefficients, 4 * stride + c)
            dy = multiply_add(xmu, projection, add(dy, constant))
        _write(block, slot(block, Slot.GRAD_X), i, count, multiply(dy, scale))


@register_jitable(**COMPILE_OPTIONS)
def map_channels_last(block: Any, c0: int, c1: int, n0: int, n1: int, s0: int, s1: int) -> None:
    """Write the output of a range of channels and rows."""
    channels, width = slot(block, Slot.C), lanes(block)
    whole = c0 + (c1 - c0) // width * width
    for n in range(n0, n1):
        for c in range(c0, whole, width):
            _write_columns(block, n * channels + c, c, width)
        if whole < c1:
            _write_columns(block, n * channels + whole, whole, c1 - whole)
