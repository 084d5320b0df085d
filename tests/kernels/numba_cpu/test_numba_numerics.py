"""Values that a sum of squares gets wrong first, against float64 and longdouble."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
import torch
from torch import Tensor

from bnkit.kernels import kernel_named
from bnkit.kernels.numba_cpu import team
from bnkit.kernels.numba_cpu.problem import Slot
from helpers.accuracy import assert_within_bar
from helpers.problems import drawn, problem_of
from helpers.results import Results, torch_results, true_results, whole_results

# Whole channels, those of short rows, channels too few to share out, channels last.
LAYOUTS = {
    "whole": ((8, 64, 20, 20), torch.contiguous_format),
    "short rows": ((13, 128, 7, 7), torch.contiguous_format),
    "pieces": ((40, 3, 23, 23), torch.contiguous_format),
    "last": ((8, 20, 21, 21), torch.channels_last),
}
every_layout = pytest.mark.parametrize("layout", LAYOUTS)


def laid_out(layout: str, values: Tensor | None = None) -> Tensor:
    shape, memory_format = LAYOUTS[layout]
    x = drawn(shape, torch.float32) if values is None else values
    return x.contiguous(memory_format=memory_format)


def assert_meets_bar(x: Tensor) -> None:
    problem = problem_of(x)._replace(grad_output=drawn(tuple(x.shape), torch.float32).flip(0))
    results = whole_results(kernel_named("numba"), problem)
    torchs, truth = torch_results(problem), true_results(problem)
    for quantity, actual, own, true in zip(Results._fields, results, torchs, truth, strict=True):
        assert_within_bar(quantity, actual.to(own.dtype), own, true)


@every_layout
@pytest.mark.parametrize("outlier", [30.0, -1e3, 1e4])
def test_first_values_unlike_the_others(layout: str, outlier: float) -> None:
    """The shift is taken from a few values: where they mislead, sums are taken once more."""
    x = laid_out(layout)
    # The first image, and the first row of each: whatever the samples are drawn from.
    x[0] += outlier
    x[:, :, 0] += outlier
    assert_meets_bar(x)


@every_layout
def test_a_misleading_shift_is_noticed(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the second sums the variance would be far off: the test above can fail."""
    x = laid_out(layout)
    samples = x[0] if layout != "last" else x[:, :, 0, 0]
    samples += 1e4
    assert not found_poor_shift(laid_out(layout), monkeypatch)
    assert found_poor_shift(x, monkeypatch)


def found_poor_shift(x: Tensor, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Return whether the statistics of x were summed once more around a better value."""
    found: list[int] = []
    run = team.run

    def spy(program: int, block: int, threads: int) -> None:
        run(program, block, threads)
        found.append(ctypes.c_int64.from_address(block + 8 * Slot.FOUND_POOR_SHIFT).value)

    with monkeypatch.context() as patched:
        patched.setattr(team, "run", spy)
        kernel_named("numba").statistics(x)
    assert len(found) == 1
    return found == [1]


@every_layout
@pytest.mark.parametrize("scale", [1e20, 1e30, 3e37, 1e-20, 1e-38])
def test_squares_beyond_the_range_of_float32(layout: str, scale: float) -> None:
    x = laid_out(layout, drawn(LAYOUTS[layout][0], torch.float32) * scale)
    y, statistics, _ = kernel_named("numba").forward(x, None, None, 1e-5)
    exact = x.double()
    mean = exact.mean((0, 2, 3))
    var = exact.var((0, 2, 3), correction=0)
    torch.testing.assert_close(statistics.mean, mean, rtol=1e-5, atol=1e-6 * scale)
    if scale > 1:
        torch.testing.assert_close(statistics.var, var, rtol=1e-6, atol=0.0)
    expected = torch.nn.functional.batch_norm(exact, None, None, training=True)
    torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("channels_last", [False, True])
def test_ten_million_values_per_channel(channels_last: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(10, 1, 1000, 1000, generator=generator).expand(-1, 2, -1, -1) + 100.0
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    x = x.contiguous(memory_format=memory_format)
    found = kernel_named("numba").statistics(x)
    exact = x[:, 0].double()
    mean, var = exact.mean(), exact.var(correction=0)
    assert float((found.mean - mean).abs().max()) < 1e-6
    assert float((found.var / var - 1).abs().max()) < 1e-7


@pytest.mark.parametrize("mean_over_std", [0.0, 1e5])
@every_layout
def test_float64_against_longdouble(layout: str, mean_over_std: float) -> None:
    shape, memory_format = LAYOUTS[layout]
    x = drawn(shape, torch.float64, mean=mean_over_std).contiguous(memory_format=memory_format)
    y, statistics, _ = kernel_named("numba").forward(x, None, None, 1e-5)
    exact = x.numpy().astype(np.longdouble)
    assert np.finfo(exact.dtype).eps < np.finfo(np.float64).eps
    mean = exact.mean((0, 2, 3), keepdims=True)
    var = ((exact - mean) ** 2).mean((0, 2, 3), keepdims=True)
    expected = (exact - mean) / np.sqrt(var + np.longdouble(1e-5))
    eps = float(np.finfo(np.float64).eps)
    # x − mean has lost what x itself could not hold: nothing here but the mean's own rounding.
    allowed = 16 * eps * max(1.0, mean_over_std)
    assert float(np.abs(y.numpy() - expected).max()) < allowed
    assert float(np.abs(statistics.var.numpy() / var.ravel() - 1).max()) < allowed
