"""The gradient behind the activation, as every loop of a backward reads it."""

from __future__ import annotations

from typing import Any

from numba.extending import register_jitable

from bnkit.kernels.numba_cpu.arithmetic import has_residual, multiply_add, through_activation
from bnkit.kernels.numba_cpu.memory import load, load_first, slot
from bnkit.kernels.numba_cpu.problem import PART_OPTIONS, Slot


@register_jitable(**PART_OPTIONS)
def gradient(block: Any, i: int, xmu: Any, scale: Any, shift: Any, slope: Any) -> Any:
    """Return dy behind the activation, from index i on."""
    dy = load(block, slot(block, Slot.GRAD_OUTPUT), i)
    if has_residual(block):
        return through_activation(block, dy, load(block, slot(block, Slot.Y), i), slope)
    return through_activation(block, dy, multiply_add(xmu, scale, shift), slope)


@register_jitable(**PART_OPTIONS)
def gradient_of_part(
    block: Any, i: int, count: int, xmu: Any, scale: Any, shift: Any, slope: Any
) -> Any:
    """Return dy behind the activation of `count` values from index i on, and zeros."""
    dy = load_first(block, slot(block, Slot.GRAD_OUTPUT), i, count)
    if has_residual(block):
        y = load_first(block, slot(block, Slot.Y), i, count)
        return through_activation(block, dy, y, slope)
    return through_activation(block, dy, multiply_add(xmu, scale, shift), slope)
