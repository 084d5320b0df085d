"""The backward that reads an activation's mask gives bit for bit what that which reads y does."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from bnkit.kernels.dispatch import NUMBA, kernel_named
from bnkit.kernels.numba_cpu import passes

# Rows of whole vectors, of parts, of a single value; channels that fill no vector.
SHAPES = [(4, 3, 8, 8), (3, 5, 7, 7), (2, 3, 1, 37), (33, 24), (6, 40, 5, 5), (64, 2, 3)]
STREAMED_SHAPES = [(4, 16, 8, 8), (3, 32, 7, 7)]
# Each is two programs to compile for each layout, so every dtype is tried with one activation.
KINDS = [
    (torch.float32, "relu"),
    (torch.float64, "leaky_relu"),
    pytest.param(torch.bfloat16, "relu6", marks=pytest.mark.slow),
]


def drawn(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(shape, generator=generator)).to(dtype)


def both_ways(x: Tensor, activation: str) -> tuple[Any, Any, Tensor | None]:
    """Return the gradients by y alone and by the mask, and the mask."""
    kernel: Any = kernel_named(NUMBA)
    residual, grad_output = (drawn(tuple(x.shape), x.dtype, seed) for seed in (1, 2))
    format_ = torch.channels_last if x.dim() == 4 and not x.is_contiguous() else None
    if format_ is not None:
        residual = residual.contiguous(memory_format=format_)
    # Values at the kinks, and NaN, which passes.
    residual[0, 0] = math.nan
    weight, bias = torch.ones(x.shape[1]), torch.zeros(x.shape[1])
    options = {"activation": activation, "negative_slope": 0.2}
    y, statistics, mask = kernel.fused_forward(
        x, weight, bias, None, None, residual,
        uses_batch_statistics=True, eps=1e-5, keeps_mask=True, **options,
    )  # fmt: skip
    found = [
        kernel.fused_backward(
            grad_output, x, weight, bias, y if given is None else torch.full_like(y, math.nan),
            statistics, uses_batch_statistics=True, mask=given, **options,
        )
        for given in (None, mask)
    ]  # fmt: skip
    return found[0], found[1], mask


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("dtype", "activation"), KINDS, ids=str)
def test_mask_and_output_give_the_same_gradients(
    dtype: torch.dtype, activation: str, shape: tuple[int, ...]
) -> None:
    assert_same(drawn(shape, dtype, 0), activation)


@pytest.mark.parametrize("shape", STREAMED_SHAPES, ids=str)
def test_they_do_where_outputs_are_streamed(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "TOO_LARGE_TO_STAY", 1)
    assert_same(drawn(shape, torch.float32, 0), "relu")


def assert_same(x: Tensor, activation: str) -> None:
    for given in (x, x.contiguous(memory_format=torch.channels_last)) if x.dim() == 4 else (x,):
        by_y, by_mask, mask = both_ways(given, activation)
        assert mask is not None
        for expected, actual in zip(by_y, by_mask, strict=True):
            torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)


def test_no_mask_is_kept_of_rows_that_tasks_divide() -> None:
    long_rows = torch.zeros(1, 3, 2**17)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert passes.empty_mask(long_rows) is None
        torch.set_num_threads(1)
        assert passes.empty_mask(long_rows) is not None
    finally:
        torch.set_num_threads(threads)
    assert passes.empty_mask(torch.zeros(0, 3, 4)) is None


def test_a_mask_takes_little_memory() -> None:
    for shape in ((32, 64, 56, 56), (32, 512, 7, 7)):
        x = torch.empty(shape)
        mask = passes.empty_mask(x)
        assert mask is not None
        assert mask.numel() < 0.06 * x.numel() * x.element_size()
