"""How far the outputs of a network before and after a rewrite lie apart."""

from __future__ import annotations

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
            f"without batch norm the network returns tensors of shapes {shapes[1]}",
            required=f"the same shapes as before: {shapes[0]}",
            remedy="What it returns must not depend on whether there are batch norms",
        )
    largest = [
        (_wide(old) - _wide(new)).abs().max().cpu()
        for old, new in zip(before, after, strict=True)
        if old.numel()
    ]
    return float(torch.stack(largest).max()) if largest else None


def _wide(tensor: Tensor) -> Tensor:
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)
