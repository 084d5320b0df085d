"""Loops over rows of columns: a lane is a column, and what is kept for it stands beside it.

Channels-last data are rows of channels. Short rows of contiguous data, of channels side by side,
make one long row, whose columns are the positions of each channel. A task's columns are numbered
from 0 on; the first lies at index `first` of row 0. What is kept for columns (shifts,
coefficients, sums) stands in rows of its own, `kept_stride` values apart.

Where several rows are read at a time, what is kept is loaded once for as many values.
"""

from __future__ import annotations

from typing import Any

from numba.extending import overload, register_jitable

from bnkit.kernels.numba_cpu.arithmetic import (
    activate,
    add,
    fill,
    has_residual,
    has_short_rows,
    may_sum_masked,
    multiply,
    multiply_add,
    subtract,
)
from bnkit.kernels.numba_cpu.gradients import gradient, gradient_of_part
from bnkit.kernels.numba_cpu.memory import (
    double_slot,
    lanes,
    load,
    load_first,
    peek,
    poke,
    prefetch_next,
    slot,
    store_first,
)
from bnkit.kernels.numba_cpu.problem import KEPT_STRIDE, PART_OPTIONS, Slot
from bnkit.kernels.numba_cpu.streaming import (
    long_read_ahead,
    prefetch_again,
    prefetch_new,
    prefetch_output,
    rows_at_once,
    write_output,
)


@register_jitable(**PART_OPTIONS)
def row_length(block: Any) -> int:
    """Return how many values lie from a row to the next."""
    return int(slot(block, Slot.C) * slot(block, Slot.S))


@register_jitable(**PART_OPTIONS)
def kept_stride(block: Any) -> int:
    """Return how many values lie from a row of what is kept for columns to the next."""
    return int(KEPT_STRIDE if has_short_rows(block) else slot(block, Slot.STRIDE))


@register_jitable(**PART_OPTIONS)
def _ahead(block: Any) -> int:
    """Return how far ahead values are asked for: the rows that are read next, or in this one."""
    if has_short_rows(block):
        return int(row_length(block) * rows_at_once(block))
    return int(long_read_ahead(block))


@register_jitable(**PART_OPTIONS)
def _ahead_of_output(block: Any) -> int:
    """Return the same for outputs: short rows are written from the last one on."""
    return int(-_ahead(block) if has_short_rows(block) else _ahead(block))


def add_rows(block: Any, n0: int, n1: int, first: int, count: int, kept: int, room: int) -> None:
    """Add the two sums of `count` columns, whole vectors, over rows to those in `room`.

    From `n0` on as many rows as there are at once fit into `n1`.
    """


@overload(add_rows, jit_options=PART_OPTIONS)
def _choose_add_rows(
    block: Any, n0: int, n1: int, first: int, count: int, kept: int, room: int
) -> Any:
    return _add_gradients if block.configuration.is_backward else _add_statistics


def _add_statistics(
    block: Any, n0: int, n1: int, first: int, count: int, kept: int, room: int
) -> None:
    """Add Σ (x − k) and Σ (x − k)²."""
    x, length, stride = slot(block, Slot.X), row_length(block), kept_stride(block)
    ahead = _ahead(block)
    for n in range(n0, n1, rows_at_once(block)):
        for c in range(0, count, lanes(block)):
            i, k = first + n * length + c, peek(block, kept, c)
            s, q = peek(block, room, c), peek(block, room, stride + c)
            for row in range(rows_at_once(block)):
                at = i + row * length
                prefetch_new(block, x, at + ahead)
                v = subtract(load(block, x, at), k)
                s, q = add(s, v), multiply_add(v, v, q)
            poke(block, room, c, s)
            poke(block, room, stride + c, q)


def _add_gradients(
    block: Any, n0: int, n1: int, first: int, count: int, kept: int, room: int
) -> None:
    """Add Σ dy and Σ dy·(x − high)."""
    x, length, stride = slot(block, Slot.X), row_length(block), kept_stride(block)
    slope = fill(block, double_slot(block, Slot.NEGATIVE_SLOPE))
    ahead = _ahead(block)
    for n in range(n0, n1, rows_at_once(block)):
        for c in range(0, count, lanes(block)):
            i, high = first + n * length + c, peek(block, kept, c)
            scale, shift = peek(block, kept, stride + c), peek(block, kept, 2 * stride + c)
            s, q = peek(block, room, c), peek(block, room, stride + c)
            for row in range(rows_at_once(block)):
                at = i + row * length
                prefetch_new(block, x, at + ahead)
                prefetch_new(block, slot(block, Slot.GRAD_OUTPUT), at + ahead)
                if has_residual(block):
                    prefetch_new(block, slot(block, Slot.Y), at + ahead)
                v = subtract(load(block, x, at), high)
                dy = gradient(block, at, v, scale, shift, slope)
                if may_sum_masked(block) and slot(block, Slot.MASKED) != 0:
                    write_output(block, slot(block, Slot.MASKED), at, dy)
                s, q = add(s, dy), multiply_add(dy, v, q)
            poke(block, room, c, s)
            poke(block, room, stride + c, q)


def add_rest(
    block: Any, n0: int, n1: int, first: int, c: int, count: int, kept: int, room: int
) -> None:
    """Add the two sums of up to one vector of columns from `c` on, over rows one by one.

    Lanes beyond `count` compute what nobody reads.
    """


@overload(add_rest, jit_options=PART_OPTIONS)
def _choose_add_rest(
    block: Any, n0: int, n1: int, first: int, c: int, count: int, kept: int, room: int
) -> Any:
    return _add_rest_of_gradients if block.configuration.is_backward else _add_rest_of_statistics


def _add_rest_of_statistics(
    block: Any, n0: int, n1: int, first: int, c: int, count: int, kept: int, room: int
) -> None:
    """Add Σ (x − k) and Σ (x − k)²."""
    x, length, stride = slot(block, Slot.X), row_length(block), kept_stride(block)
    k = peek(block, kept, c)
    s, q = peek(block, room, c), peek(block, room, stride + c)
    for n in range(n0, n1):
        v = subtract(load_first(block, x, first + n * length + c, count), k)
        s, q = add(s, v), multiply_add(v, v, q)
    poke(block, room, c, s)
    poke(block, room, stride + c, q)


def _add_rest_of_gradients(
    block: Any, n0: int, n1: int, first: int, c: int, count: int, kept: int, room: int
) -> None:
    """Add Σ dy and Σ dy·(x − high)."""
    x, length, stride = slot(block, Slot.X), row_length(block), kept_stride(block)
    high = peek(block, kept, c)
    scale, shift = peek(block, kept, stride + c), peek(block, kept, 2 * stride + c)
    slope = fill(block, double_slot(block, Slot.NEGATIVE_SLOPE))
    s, q = peek(block, room, c), peek(block, room, stride + c)
    for n in range(n0, n1):
        i = first + n * length + c
        v = subtract(load_first(block, x, i, count), high)
        dy = gradient_of_part(block, i, count, v, scale, shift, slope)
        s, q = add(s, dy), multiply_add(dy, v, q)
    poke(block, room, c, s)
    poke(block, room, stride + c, q)


def write_rows(block: Any, n0: int, n1: int, first: int, count: int, kept: int) -> None:
    """Write the output of `count` columns, whole vectors, over rows.

    From `n0` on as many rows as there are at once fit into `n1`.
    """


@overload(write_rows, jit_options=PART_OPTIONS)
def _choose_write_rows(block: Any, n0: int, n1: int, first: int, count: int, kept: int) -> Any:
    return _write_gradients if block.configuration.is_backward else _write_y


@register_jitable(**PART_OPTIONS)
def _write_y_at(block: Any, i: int, high: Any, scale: Any, shift: Any, slope: Any) -> None:
    ahead = i + _ahead_of_output(block)
    prefetch_again(block, slot(block, Slot.X), ahead)
    if has_short_rows(block):
        prefetch_next(block, slot(block, Slot.X), i)
    value = multiply_add(subtract(load(block, slot(block, Slot.X), i), high), scale, shift)
    if has_residual(block):
        prefetch_new(block, slot(block, Slot.RESIDUAL), ahead)
        value = add(value, load(block, slot(block, Slot.RESIDUAL), i))
    if has_short_rows(block):
        prefetch_output(block, slot(block, Slot.Y), ahead)
    write_output(block, slot(block, Slot.Y), i, activate(block, value, slope))


def _write_y(block: Any, n0: int, n1: int, first: int, count: int, kept: int) -> None:
    """Write y."""
    length, stride = row_length(block), kept_stride(block)
    slope = fill(block, double_slot(block, Slot.NEGATIVE_SLOPE))
    for n in range(n0, n1, rows_at_once(block)):
        for c in range(0, count, lanes(block)):
            i, high = first + n * length + c, peek(block, kept, c)
            scale, shift = peek(block, kept, stride + c), peek(block, kept, 2 * stride + c)
            for row in range(rows_at_once(block)):
                _write_y_at(block, i + row * length, high, scale, shift, slope)


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
    grad_x, grad_residual = slot(block, Slot.GRAD_X), slot(block, Slot.GRAD_RESIDUAL)
    ahead = i + _ahead_of_output(block)
    prefetch_again(block, slot(block, Slot.X), ahead)
    if has_short_rows(block):
        prefetch_next(block, slot(block, Slot.X), i)
        prefetch_next(block, slot(block, Slot.GRAD_OUTPUT), i)
        if has_residual(block):
            prefetch_next(block, slot(block, Slot.Y), i)
    xmu = subtract(load(block, slot(block, Slot.X), i), high)
    if may_sum_masked(block) and slot(block, Slot.MASKED) != 0:
        prefetch_again(block, slot(block, Slot.MASKED), ahead)
        dy = load(block, slot(block, Slot.MASKED), i)
    else:
        prefetch_again(block, slot(block, Slot.GRAD_OUTPUT), ahead)
        dy = gradient(block, i, xmu, scale, shift, slope)
        if has_residual(block):
            prefetch_again(block, slot(block, Slot.Y), ahead)
            if grad_residual != 0:
                if has_short_rows(block):
                    prefetch_output(block, grad_residual, ahead)
                write_output(block, grad_residual, i, dy)
    # Statistics that do not depend on x pass nothing on: not even the NaN of 0·inf.
    if slot(block, Slot.M) != 0:
        dy = multiply_add(xmu, projection, add(dy, constant))
    if grad_x != 0:
        if has_short_rows(block):
            prefetch_output(block, grad_x, ahead)
        write_output(block, grad_x, i, multiply(dy, scale))


def _write_gradients(block: Any, n0: int, n1: int, first: int, count: int, kept: int) -> None:
    """Write the gradients of x, and of the residual."""
    length, stride = row_length(block), kept_stride(block)
    slope = fill(block, double_slot(block, Slot.NEGATIVE_SLOPE))
    for n in range(n0, n1, rows_at_once(block)):
        for c in range(0, count, lanes(block)):
            i, high = first + n * length + c, peek(block, kept, c)
            scale, shift = peek(block, kept, stride + c), peek(block, kept, 2 * stride + c)
            projection = peek(block, kept, 3 * stride + c)
            constant = peek(block, kept, 4 * stride + c)
            for row in range(rows_at_once(block)):
                _write_gradient_at(
                    block, i + row * length, high, scale, shift, projection, constant, slope
                )


def write_rest(block: Any, n0: int, n1: int, first: int, c: int, count: int, kept: int) -> None:
    """Write the output of up to one vector of columns from `c` on, over rows one by one."""


@overload(write_rest, jit_options=PART_OPTIONS)
def _choose_write_rest(
    block: Any, n0: int, n1: int, first: int, c: int, count: int, kept: int
) -> Any:
    return _write_rest_of_gradients if block.configuration.is_backward else _write_rest_of_y


def _write_rest_of_y(
    block: Any, n0: int, n1: int, first: int, c: int, count: int, kept: int
) -> None:
    """Write y."""
    x, y, residual = slot(block, Slot.X), slot(block, Slot.Y), slot(block, Slot.RESIDUAL)
    length, stride = row_length(block), kept_stride(block)
    high = peek(block, kept, c)
    scale, shift = peek(block, kept, stride + c), peek(block, kept, 2 * stride + c)
    slope = fill(block, double_slot(block, Slot.NEGATIVE_SLOPE))
    for n in range(n0, n1):
        i = first + n * length + c
        value = multiply_add(subtract(load_first(block, x, i, count), high), scale, shift)
        if has_residual(block):
            value = add(value, load_first(block, residual, i, count))
        store_first(block, y, i, count, activate(block, value, slope))


def _write_rest_of_gradients(
    block: Any, n0: int, n1: int, first: int, c: int, count: int, kept: int
) -> None:
    """Write the gradients of x, and of the residual."""
    length, stride = row_length(block), kept_stride(block)
    high = peek(block, kept, c)
    scale, shift = peek(block, kept, stride + c), peek(block, kept, 2 * stride + c)
    projection, constant = peek(block, kept, 3 * stride + c), peek(block, kept, 4 * stride + c)
    slope = fill(block, double_slot(block, Slot.NEGATIVE_SLOPE))
    grad_residual = slot(block, Slot.GRAD_RESIDUAL)
    for n in range(n0, n1):
        i = first + n * length + c
        xmu = subtract(load_first(block, slot(block, Slot.X), i, count), high)
        dy = gradient_of_part(block, i, count, xmu, scale, shift, slope)
        if has_residual(block) and grad_residual != 0:
            store_first(block, grad_residual, i, count, dy)
        if slot(block, Slot.M) != 0:
            dy = multiply_add(xmu, projection, add(dy, constant))
        if slot(block, Slot.GRAD_X) != 0:
            store_first(block, slot(block, Slot.GRAD_X), i, count, multiply(dy, scale))
