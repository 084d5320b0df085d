"""How far the outputs of a network before and after a rewrite lie apart."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from bnkit.errors import RewriteError


def largest_difference(before: Sequence[Tensor], after: Sequence[Tensor]) -> float | None:
    """Return max |before − after| over all tensors of the outputs; None if they hold no values.

    NaN anywhere makes it NaN.

    Raises:
        RewriteError: the outputs differ in the number of their tensors or in a shape.
    """
    shapes = [[tuple(tensor.shape) for tensor in tensors] for tensors in (before, after)]
    if shapes[0] != shapes[1]:
        raise RewriteError(
            f"after the rewrite the network returns tensors of shapes {shapes[1]}",
            required=f"the same shapes as before: {shapes[0]}",
            remedy="What it returns must not depend on the layers that are changed",
        )
    largest = [
        _differences(_wide(old), _wide(new)).max().cpu()
        for old, new in zip(before, after, strict=True)
        if old.numel()
    ]
    return float(torch.stack(largest).max()) if largest else None


def relative_difference(before: Sequence[Tensor], after: Sequence[Tensor]) -> float | None:
    """Return the largest difference of a tensor in units of its largest value before.

    A tensor that was zero, or held nothing finite, counts in units of 1. NaN anywhere makes it NaN.

    Raises:
        RewriteError: the outputs differ in the number of their tensors or in a shape.
    """
    if largest_difference(before, after) is None:
        return None
    found = [
        (largest_difference([old], [new]) or 0.0) / (_largest_finite(old) or 1.0)
        for old, new in zip(before, after, strict=True)
        if old.numel()
    ]
    return math.nan if any(math.isnan(value) for value in found) else max(found)


def _differences(old: Tensor, new: Tensor) -> Tensor:
    # Infinities that stay, as in masked scores, are no difference, though inf − inf is NaN.
    return (old - new).abs().masked_fill(old == new, 0.0)


def _largest_finite(tensor: Tensor) -> float:
    wide = _wide(tensor).abs()
    finite = wide[wide.isfinite()]
    return float(finite.max()) if finite.numel() else 0.0


def _wide(tensor: Tensor) -> Tensor:
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)
