"""The two programs, forward and backward: tasks taken one by one, and what each phase does to one.

Every thread of a team runs the same program until no task is left. Which thread takes which task
changes nothing in the result: the sums of a task are its own, and are added in the tasks' order.
"""

from __future__ import annotations

import math
from typing import Any

from numba.extending import overload, register_jitable

from bnkit.kernels.numba_cpu.arithmetic import is_double, rounded, smaller
from bnkit.kernels.numba_cpu.channels_last import (
    choose_shifts_channels_last,
    map_channels_last,
    sum_channels_last,
)
from bnkit.kernels.numba_cpu.contiguous import (
    choose_shifts_contiguous,
    map_contiguous,
    map_gathered,
    sum_contiguous,
)
from bnkit.kernels.numba_cpu.doubles import double_at, put_double
from bnkit.kernels.numba_cpu.memory import (
    add_one,
    arithmetic_at,
    parameter_at,
    poke_one,
    put_parameter,
    put_slot,
    seen_by_channels,
    seen_by_map,
    seen_by_sums,
    slot,
    value_at,
    written_slot,
)
from bnkit.kernels.numba_cpu.problem import (
    CHANNELS_LAST,
    GATHERED,
    PART_OPTIONS,
    PARTIAL_ROWS,
    SHIFT_LIMIT,
    SHORT_ROWS,
    Phase,
    Slot,
)
from bnkit.kernels.numba_cpu.running_statistics import (
    take_running_statistics,
    update_running_statistics,
    write_statistics,
)
from bnkit.kernels.numba_cpu.short_rows import map_short_rows, sum_short_rows
from bnkit.kernels.numba_cpu.streaming import finish_output
from bnkit.kernels.numba_cpu.turns import next_task, thread_number, wait_for_all

_SUM, _FINISH = int(Phase.SUM), int(Phase.FINISH)
_READS_TENSORS = int(Phase.SUM | Phase.MAP)


def _sum(block: Any, c0: int, c1: int, n0: int, n1: int, s0: int, s1: int, sums: int) -> None:
    """Write the two sums of each channel over a range of N and S."""


@overload(_sum, jit_options=PART_OPTIONS)
def _choose_sum(block: Any, c0: int, c1: int, n0: int, n1: int, s0: int, s1: int, sums: int) -> Any:
    layout = block.configuration.layout
    if layout == CHANNELS_LAST:
        return sum_channels_last
    return sum_short_rows if layout == SHORT_ROWS else sum_contiguous


def _map(block: Any, c0: int, c1: int, n0: int, n1: int, s0: int, s1: int) -> None:
    """Write the output of a range of channels, N and S."""


@overload(_map, jit_options=PART_OPTIONS)
def _choose_map(block: Any, c0: int, c1: int, n0: int, n1: int, s0: int, s1: int) -> Any:
    if block.configuration.layout == CHANNELS_LAST:
        return map_channels_last
    if block.configuration.layout == SHORT_ROWS:
        return map_short_rows
    return map_gathered if block.configuration.stores == GATHERED else map_contiguous


@register_jitable(**PART_OPTIONS)
def _ceiling(total: int, part: int) -> int:
    return (total + part - 1) // part


@register_jitable(**PART_OPTIONS)
def _sum_of_parts(block: Any, row: int, c: int) -> float:
    """Return the sum of one channel over the tasks that it was divided among."""
    stride, partials = slot(block, Slot.STRIDE), slot(block, Slot.PARTIALS)
    n_parts = _ceiling(slot(block, Slot.N), slot(block, Slot.N_PER_TASK))
    s_parts = _ceiling(slot(block, Slot.S), slot(block, Slot.S_PER_TASK))
    result = 0.0
    for part in range(n_parts * s_parts):
        result += double_at(partials, (PARTIAL_ROWS * part + row) * stride + c)
    return result


def _choose_shifts(block: Any, c0: int, c1: int) -> None:
    """Keep the mean of a few values of each channel: near its mean, if they are like the others."""


@overload(_choose_shifts, jit_options=PART_OPTIONS)
def _choose_choose_shifts(block: Any, c0: int, c1: int) -> Any:
    is_last = block.configuration.layout == CHANNELS_LAST
    return choose_shifts_channels_last if is_last else choose_shifts_contiguous


@register_jitable(**PART_OPTIONS)
def _sum_in_doubles(block: Any, c: int) -> tuple[float, float]:
    """Return mean and variance of a channel whose sums are beyond float32, or not finite.

    It takes long; the first NaN, of which a diverged training has many, ends it.
    """
    x, size, rows = slot(block, Slot.X), slot(block, Slot.S), slot(block, Slot.N)
    jump, m = slot(block, Slot.C) * size, rows * size
    mean = 0.0
    for n in range(rows):
        for i in range(n * jump + c * size, n * jump + (c + 1) * size):
            mean += value_at(block, x, i)
        if math.isnan(mean):
            return mean, mean
    mean /= m
    if math.isinf(mean):
        return mean, math.nan
    var = 0.0
    for n in range(rows):
        for i in range(n * jump + c * size, n * jump + (c + 1) * size):
            xmu = value_at(block, x, i) - mean
            var += xmu * xmu
    return mean, var / m


@register_jitable(**PART_OPTIONS)
def _finish_statistics(block: Any, c: int, is_rescan: bool) -> bool:
    """Write mean, var and invstd of a channel; or return False, where its shift was a poor one.

    It then has a better one, and its sums must be taken once more.
    """
    m = slot(block, Slot.N) * slot(block, Slot.S)
    sum_xmk, sum_squares = _sum_of_parts(block, 0, c), _sum_of_parts(block, 1, c)
    if not (math.isfinite(sum_xmk) and math.isfinite(sum_squares)):
        mean, var = _sum_in_doubles(block, c)
        write_statistics(block, c, mean, var)
        return True
    delta = sum_xmk / m
    # The difference of two roundings may fall below zero in a constant channel.
    var = sum_squares / m - delta * delta
    var = max(var, 0.0)
    mean = arithmetic_at(block, slot(block, Slot.SHIFT), c) + delta
    # No wider dtype is left to take up what rounding takes from the sums of doubles.
    is_poor = is_double(block) or delta * delta > SHIFT_LIMIT * var
    if is_poor and not is_rescan:
        poke_one(block, slot(block, Slot.SHIFT), c, mean)
        return False
    write_statistics(block, c, mean, var)
    return True


@register_jitable(**PART_OPTIONS)
def _low(block: Any, c: int) -> float:
    """Return what the mean, rounded to the dtype of arithmetic, lacks."""
    mean = double_at(slot(block, Slot.MEAN), c)
    high = rounded(block, mean)
    # An infinite mean leaves NaN, where nothing was taken away.
    return mean - high if math.isfinite(high) else 0.0


@register_jitable(**PART_OPTIONS)
def _write_coefficients(block: Any, c: int) -> None:
    """Write what maps x to y: y = (x − high)·scale + shift, where high is the rounded mean."""
    coefficients, stride = slot(block, Slot.COEFFICIENTS), slot(block, Slot.STRIDE)
    mean = double_at(slot(block, Slot.MEAN), c)
    low = _low(block, c)
    scale, bias = double_at(slot(block, Slot.INVSTD), c), 0.0
    if slot(block, Slot.WEIGHT) != 0:
        scale *= parameter_at(block, slot(block, Slot.WEIGHT), c)
    if slot(block, Slot.BIAS) != 0:
        bias = parameter_at(block, slot(block, Slot.BIAS), c)
    poke_one(block, coefficients, c, mean)
    poke_one(block, coefficients, stride + c, scale)
    poke_one(block, coefficients, 2 * stride + c, bias - low * scale)


@register_jitable(**PART_OPTIONS)
def _write_gradient_coefficients(block: Any, c: int, low: float) -> None:
    """Write what maps dy and x to dx: dx = ((x − high)·projection + (dy + constant))·scale.

    projection = −slope = −invstd²·sum_dy_xmu/m, and constant = low·slope − sum_dy/m.
    """
    m = slot(block, Slot.M)
    if m == 0:
        return
    coefficients, stride = slot(block, Slot.COEFFICIENTS), slot(block, Slot.STRIDE)
    invstd = double_at(slot(block, Slot.INVSTD), c)
    slope = invstd * invstd * double_at(slot(block, Slot.SUM_DY_XMU), c) / m
    mean_dy = double_at(slot(block, Slot.SUM_DY), c) / m
    poke_one(block, coefficients, 3 * stride + c, -slope)
    poke_one(block, coefficients, 4 * stride + c, low * slope - mean_dy)


@register_jitable(**PART_OPTIONS)
def _finish_gradients(block: Any, c: int, low: float) -> None:
    """Write Σ dy and Σ dy·(x − mean) of a channel, and the gradients that they make."""
    sum_dy = _sum_of_parts(block, 0, c)
    sum_dy_xmu = _sum_of_parts(block, 1, c) - low * sum_dy
    put_double(slot(block, Slot.SUM_DY), c, sum_dy)
    put_double(slot(block, Slot.SUM_DY_XMU), c, sum_dy_xmu)
    grad_weight, grad_bias = slot(block, Slot.GRAD_WEIGHT), slot(block, Slot.GRAD_BIAS)
    if grad_weight != 0:
        invstd = double_at(slot(block, Slot.INVSTD), c)
        put_parameter(block, grad_weight, c, sum_dy_xmu * invstd)
    if grad_bias != 0:
        put_parameter(block, grad_bias, c, sum_dy)


def _run(
    block: Any,
    phases: int,
    is_rescan: bool,
    c0: int,
    c1: int,
    n0: int,
    n1: int,
    s0: int,
    s1: int,
    sums: int,
) -> None:
    """Run the phases on one task."""


@overload(_run, jit_options=PART_OPTIONS)
def _choose_run(
    block: Any,
    phases: int,
    is_rescan: bool,
    c0: int,
    c1: int,
    n0: int,
    n1: int,
    s0: int,
    s1: int,
    sums: int,
) -> Any:
    return _run_backward if block.configuration.is_backward else _run_forward


@register_jitable(**PART_OPTIONS)
def _finish_channels(block: Any, c0: int, c1: int, is_rescan: bool) -> bool:
    """Finish the statistics of channels; or return False, where a shift was a poor one."""
    is_fine = True
    for c in range(c0, c1):
        is_fine &= _finish_statistics(block, c, is_rescan)
    return is_fine


def _run_forward(
    block: Any,
    phases: int,
    is_rescan: bool,
    c0: int,
    c1: int,
    n0: int,
    n1: int,
    s0: int,
    s1: int,
    sums: int,
) -> None:
    channels = seen_by_channels(block)
    if phases & Phase.SHIFT:
        _choose_shifts(channels, c0, c1)
    while True:
        if phases & Phase.SUM:
            _sum(seen_by_sums(block), c0, c1, n0, n1, s0, s1, sums)
        if not phases & Phase.FINISH or _finish_channels(channels, c0, c1, is_rescan):
            break
        put_slot(block, Slot.FOUND_POOR_SHIFT, 1)
        if not phases & Phase.SUM:
            break
        # This task has all values of its channels, and they are in the cache: once more.
        is_rescan = True
    for c in range(c0, c1):
        if phases & Phase.FIXED:
            take_running_statistics(channels, c)
        if phases & Phase.UPDATE:
            update_running_statistics(channels, c)
        if phases & Phase.COEFFICIENTS:
            _write_coefficients(channels, c)
    if phases & Phase.UPDATE and c0 == 0 and slot(block, Slot.COUNTER) != 0:
        add_one(slot(block, Slot.COUNTER))
    if phases & Phase.MAP:
        _map(seen_by_map(block), c0, c1, n0, n1, s0, s1)


def _run_backward(
    block: Any,
    phases: int,
    is_rescan: bool,
    c0: int,
    c1: int,
    n0: int,
    n1: int,
    s0: int,
    s1: int,
    sums: int,
) -> None:
    channels = seen_by_channels(block)
    if phases & Phase.SHIFT:
        for c in range(c0, c1):
            _write_coefficients(channels, c)
    if phases & Phase.SUM:
        _sum(seen_by_sums(block), c0, c1, n0, n1, s0, s1, sums)
    for c in range(c0, c1):
        low = _low(channels, c)
        if phases & Phase.FINISH:
            _finish_gradients(channels, c, low)
        if phases & Phase.COEFFICIENTS:
            _write_gradient_coefficients(channels, c, low)
    if phases & Phase.MAP:
        _map(seen_by_map(block), c0, c1, n0, n1, s0, s1)


def program(block: Any) -> None:
    """Run the groups of phases on all tasks, each group when all threads are through with the last.

    A thread begins with the tasks of its own region, the same in every round and pass: what it read
    and wrote is in its own cache. Then it helps with the regions of the others. Where a shift was
    found to be poor, SUM and FINISH are run once more.
    """
    channels, regions, stride = (
        slot(block, Slot.C),
        slot(block, Slot.REGIONS),
        slot(block, Slot.STRIDE),
    )
    n_step, s_step = slot(block, Slot.N_PER_TASK), slot(block, Slot.S_PER_TASK)
    s_parts, own = _ceiling(slot(block, Slot.S), s_step), thread_number(block)
    group, number, is_rescan = 0, 0, False
    phases = slot(block, Slot.FIRST_GROUP)
    while True:
        tasks, c_step = slot(block, Slot.TASKS), slot(block, Slot.CHANNELS_PER_TASK)
        if not phases & _READS_TENSORS:
            c_step = slot(block, Slot.CHANNELS_PER_STEP)
            tasks = _ceiling(channels, c_step)
        per_region, c_parts = _ceiling(tasks, regions), _ceiling(channels, c_step)
        for other in range(regions):
            region = (own + other) % regions
            count = smaller(per_region, tasks - region * per_region)
            while True:
                turn = next_task(block, number * regions + region)
                if turn >= count:
                    break
                # Backwards: what was summed last is still cached.
                turn = count - 1 - turn if phases == Phase.MAP else turn
                part, c0 = divmod(region * per_region + turn, c_parts)
                c0 *= c_step
                n0, s0 = part // s_parts * n_step, part % s_parts * s_step
                c1, n1 = smaller(c0 + c_step, channels), smaller(n0 + n_step, slot(block, Slot.N))
                s1 = smaller(s0 + s_step, slot(block, Slot.S))
                sums = slot(block, Slot.PARTIALS) + part * 8 * PARTIAL_ROWS * stride
                _run(block, phases, is_rescan, c0, c1, n0, n1, s0, s1, sums)
        number += 1
        if is_rescan and phases == Phase.SUM:
            phases = _FINISH
        else:
            if phases == Phase.FINISH and not is_rescan:
                wait_for_all(block)
                is_rescan = written_slot(block, Slot.FOUND_POOR_SHIFT) != 0
            else:
                is_rescan = False
            if is_rescan:
                phases = _SUM
            else:
                group += 1
                if group == slot(block, Slot.GROUPS):
                    break
                phases = slot(block, Slot.FIRST_GROUP + group)
        finish_output(block)
        wait_for_all(block)
    finish_output(block)
