"""The accuracy bar of a kernel, and how a result is held against it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# A kernel may err by 1.25 times what torch errs by, or by 8 units in the last place of the
# largest value, whichever is larger.
TIMES_TORCH = 1.25
ULPS = 8


def unit_in_last_place(value: float, dtype: torch.dtype) -> float:
    """Return the distance between neighbouring numbers of `dtype` at the size of `value`."""
    if value == 0:
        return torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    return 2.0 ** math.floor(math.log2(abs(value))) * torch.finfo(dtype).eps


def largest_error(actual: Tensor, truth: Tensor) -> float:
    """Return max |actual − truth|, in float64."""
    return float((actual.double() - truth.double()).abs().max()) if actual.numel() else 0.0


def assert_within_bar(name: str, actual: Tensor, torchs: Tensor, truth: Tensor) -> None:
    """Fail if `actual` is further from the truth than the bar allows, or differs in shape.

    Args:
        name: what is compared, for the message.
        actual: the kernel's result.
        torchs: torch's result; the dtype of the comparison.
        truth: the same to higher precision; finite.
    """
    assert actual.shape == torchs.shape == truth.shape, f"{name}: {actual.shape}, {truth.shape}"
    assert bool(actual.isfinite().all()), f"{name} is not finite"
    largest = float(truth.double().abs().max()) if truth.numel() else 0.0
    own, torch_own = largest_error(actual, truth), largest_error(torchs, truth)
    allowed = max(TIMES_TORCH * torch_own, ULPS * unit_in_last_place(largest, torchs.dtype))
    assert own <= allowed, f"{name}: error {own:.3g}, allowed {allowed:.3g}, torch {torch_own:.3g}"


def assert_same_nonfinite(name: str, actual: Tensor, torchs: Tensor) -> None:
    """Fail unless NaN, +inf and −inf stand at the same places as in torch's result."""
    for kind in (torch.isnan, torch.isposinf, torch.isneginf):
        same = torch.equal(kind(actual), kind(torchs))
        assert same, f"{name}: {kind.__name__} differs from torch:\n{actual}\n{torchs}"
