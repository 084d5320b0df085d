"""Where a transposed convolution makes another constant of a constant than elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

# Sums of float32 weights that differ by less are equal but for rounding.
_EQUAL = 1e-6


def spread_of(
    weight: Tensor, sizes: Sequence[int], arguments: Sequence[Any]
) -> tuple[bool, Tensor]:
    """Return whether the border differs from the inside, and which inputs are spread unevenly.

    With stride s, the outputs at places that differ modulo s see other taps. If the sums of those
    differ, a constant input becomes a pattern with a period of s. On the border taps that lie
    outside of the input are missing.

    Args:
        weight: (inputs, outputs / groups, *kernel).
        sizes: of the input over space.
        arguments: of aten's convolution.

    Returns:
        Whether on the border taps are missing; for each input, whether its sums differ.
    """
    stride, padding, dilation, more = (
        _each(arguments[number], len(sizes)) for number in (3, 4, 5, 7)
    )
    sums, is_border = weight.detach().cpu().double(), False
    for dim, size in enumerate(sizes):
        taps, step = weight.shape[2 + dim], stride[dim]
        seen = torch.zeros(step, taps, dtype=torch.float64)
        for tap in range(taps):
            seen[(tap * dilation[dim] - padding[dim]) % step, tap] = 1
        sums = torch.movedim(torch.tensordot(sums, seen, dims=([2 + dim], [1])), -1, 2 + dim)
        length = (size - 1) * step - 2 * padding[dim] + dilation[dim] * (taps - 1) + more[dim] + 1
        for tap in range(taps):
            # Outputs at offset + step · i see this tap of input i, for 0 ≤ i < size.
            offset = tap * dilation[dim] - padding[dim]
            first, last = offset, offset + step * (size - 1)
            is_border |= first - step >= 0 or last + step < length
    flat = sums.flatten(1).reshape(len(sums), weight.shape[1], -1)
    unlike = flat.amax(2) - flat.amin(2)
    limit = _EQUAL * weight.detach().abs().max().double().cpu()
    return is_border, (unlike > limit).any(1)


def _each(values: Sequence[int], count: int) -> list[int]:
    return list(values) * count if len(values) == 1 else list(values)
