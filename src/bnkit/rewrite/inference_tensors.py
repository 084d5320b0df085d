"""Tensors made in inference mode, which nothing may write to outside of it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from bnkit.errors import RewriteError


def refuse_inference_tensors(tensors: Iterable[tuple[str, Tensor]], remedy: str) -> None:
    """Raise if a tensor that is to be changed in place cannot be.

    Args:
        tensors: (path, tensor) of those that are written to.
        remedy: what to do instead.

    Raises:
        RewriteError: one was made in inference mode, which has been left.
    """
    if torch.is_inference_mode_enabled():
        return
    for name, tensor in tensors:
        if tensor.is_inference():
            raise RewriteError(
                "was made in inference mode, so it cannot be changed in place outside of it",
                remedy=remedy,
                where=name,
            )
