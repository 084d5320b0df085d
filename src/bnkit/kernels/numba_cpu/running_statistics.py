"""Statistics of a channel, written down; and the running ones, taken for them or moved by them."""

from __future__ import annotations

import math
from typing import Any

from numba.extending import register_jitable

from bnkit.kernels.numba_cpu.doubles import double_at, put_double
from bnkit.kernels.numba_cpu.memory import double_slot, parameter_at, put_parameter, slot
from bnkit.kernels.numba_cpu.problem import PART_OPTIONS, Slot


@register_jitable(**PART_OPTIONS)
def write_statistics(block: Any, c: int, mean: float, var: float) -> None:
    """Write mean, var and invstd of a channel."""
    put_double(slot(block, Slot.MEAN), c, mean)
    put_double(slot(block, Slot.VAR), c, var)
    invstd = 1.0 / math.sqrt(var + double_slot(block, Slot.EPS))
    put_double(slot(block, Slot.INVSTD), c, invstd)


@register_jitable(**PART_OPTIONS)
def take_running_statistics(block: Any, c: int) -> None:
    """Take the running statistics of a channel in the place of the batch's."""
    mean = parameter_at(block, slot(block, Slot.RUNNING_MEAN), c)
    write_statistics(block, c, mean, parameter_at(block, slot(block, Slot.RUNNING_VAR), c))


@register_jitable(**PART_OPTIONS)
def update_running_statistics(block: Any, c: int) -> None:
    """Move the running statistics: the rule of functional/running_statistics.py."""
    m, momentum = float(slot(block, Slot.M)), double_slot(block, Slot.MOMENTUM)
    running_mean, running_var = slot(block, Slot.RUNNING_MEAN), slot(block, Slot.RUNNING_VAR)
    mean, var = double_at(slot(block, Slot.MEAN), c), double_at(slot(block, Slot.VAR), c)
    kept = parameter_at(block, running_mean, c) * (1.0 - momentum)
    put_parameter(block, running_mean, c, kept + mean * momentum)
    kept = parameter_at(block, running_var, c) * (1.0 - momentum)
    put_parameter(block, running_var, c, kept + var * (m / (m - 1.0)) * momentum)
