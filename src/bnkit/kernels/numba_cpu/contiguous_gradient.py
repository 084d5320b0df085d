"""The gradient behind the activation, of contiguous data: what both loops of the backward read."""

from __future__ import annotations

from typing import Any

from numba.extending import register_jitable

from bnkit.kernels.numba_cpu.activation_mask import has_mask, through_mask
from bnkit.kernels.numba_cpu.arithmetic import has_residual, multiply_add, through_activation
from bnkit.kernels.numba_cpu.memory import load, load_first, prefetch, slot
from bnkit.kernels.numba_cpu.problem import COMPILE_OPTIONS, Slot


@register_jitable(**COMPILE_OPTIONS)
def gradient_at(
    block: Any, i: int, xmu: Any, scale: Any, shift: Any, slope: Any, start: int, mask: int
) -> Any:
    """Return dy behind the activation, from index i on; its row begins at `start`."""
    dy = load(block, slot(block, Slot.GRAD_OUTPUT), i)
    if has_mask(block):
        return through_mask(block, dy, mask, i - start, slope)
    if has_residual(block):
        return through_activation(block, dy, load(block, slot(block, Slot.Y), i), slope)
    return through_activation(block, dy, multiply_add(xmu, scale, shift), slope)


@register_jitable(**COMPILE_OPTIONS)
def prefetch_for_gradient(block: Any, i: int) -> None:
    """Ask for what `gradient_at` reads, and for x."""
    prefetch(block, slot(block, Slot.X), i)
    prefetch(block, slot(block, Slot.GRAD_OUTPUT), i)
    if has_residual(block) and not has_mask(block):
        prefetch(block, slot(block, Slot.Y), i)


@register_jitable(**COMPILE_OPTIONS)
def gradient_of_part(
    block: Any,
    i: int,
    count: int,
    xmu: Any,
    scale: Any,
    shift: Any,
    slope: Any,
    start: int,
    mask: int,
) -> Any:
    """Return dy behind the activation of the `count` values from index i on, and zeros."""
    dy = load_first(block, slot(block, Slot.GRAD_OUTPUT), i, count)
    if has_mask(block):
        return through_mask(block, dy, mask, i - start, slope)
    if has_residual(block):
        y = load_first(block, slot(block, Slot.Y), i, count)
        return through_activation(block, dy, y, slope)
    return through_activation(block, dy, multiply_add(xmu, scale, shift), slope)
