"""The reference kernel, pinned to numbers worked out by hand and to `numpy.longdouble`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bnkit.kernels import kernel_named
from helpers.accuracy import assert_within_bar
from helpers.problems import drawn, problem_of
from helpers.results import (
    Results,
    longdouble_results,
    staged_results,
    torch_results,
    whole_results,
)

# Two channels of four values: mean 3 and −1, deviations (−3, −1, 1, 3) and (1, 1, −1, −1), so
# var 5 and 1. Each channel has an eps with which √(var + eps) is whole.
X = torch.tensor([[0.0, 0.0], [2.0, 0.0], [4.0, -2.0], [6.0, -2.0]])
EPS = {0: 4.0, 1: 3.0}  # √(5 + 4) = 3 and √(1 + 3) = 2
DY = torch.tensor([[1.0, 2.0], [0.0, 0.0], [0.0, 0.0], [3.0, -2.0]])
WEIGHT, BIAS = torch.tensor([3.0, 4.0]), torch.tensor([1.0, -1.0])

KERNEL = kernel_named("reference")


def column(values: torch.Tensor, channel: int) -> torch.Tensor:
    return values[..., channel : channel + 1]


def test_statistics_by_hand() -> None:
    mean, var, m = KERNEL.statistics(X)
    assert mean.tolist() == [3.0, -1.0]
    assert var.tolist() == [5.0, 1.0]
    assert m == 4


@pytest.mark.parametrize(
    ("channel", "expected"),
    [
        # weight·(x − mean)/√(var + eps) + bias = 3·(−3, −1, 1, 3)/3 + 1
        (0, [-2.0, 0.0, 2.0, 4.0]),
        # 4·(1, 1, −1, −1)/2 − 1
        (1, [1.0, 1.0, -3.0, -3.0]),
    ],
)
def test_output_by_hand(channel: int, expected: list[float]) -> None:
    x, weight, bias = (column(v, channel) for v in (X, WEIGHT, BIAS))
    result = KERNEL.forward(x, weight, bias, EPS[channel])
    assert result.y.flatten().tolist() == expected
    assert result.invstd.tolist() == [1 / 3 if channel == 0 else 1 / 2]


@pytest.mark.parametrize(
    ("channel", "sum_dy", "sum_dy_xmu", "grad_x"),
    [
        # Σ dy = 4, Σ dy·xmu = −3 + 9 = 6; weight·invstd = 1;
        # dx = dy − 1 − xmu·(1/9)·(6/4) = dy − 1 − xmu/6
        (0, 4.0, 6.0, [0.5, -5 / 6, -7 / 6, 1.5]),
        # Σ dy = 0, Σ dy·xmu = 2 + 2 = 4; weight·invstd = 2; dx = 2·(dy − xmu·(1/4)·(4/4))
        (1, 0.0, 4.0, [3.5, -0.5, 0.5, -3.5]),
    ],
)
def test_gradients_by_hand(
    channel: int, sum_dy: float, sum_dy_xmu: float, grad_x: list[float]
) -> None:
    x, dy, weight, bias = (column(v, channel).double() for v in (X, DY, WEIGHT, BIAS))
    _, (mean, _, m), invstd = KERNEL.forward(x, weight, bias, EPS[channel])
    sums = KERNEL.backward_reduce(dy, x, mean)
    assert (sums.sum_dy.tolist(), sums.sum_dy_xmu.tolist()) == ([sum_dy], [sum_dy_xmu])
    dx = KERNEL.backward_input(dy, x, mean, invstd, weight, reductions=sums, m=m)
    expected = torch.tensor(grad_x, dtype=torch.float64)
    torch.testing.assert_close(dx.flatten(), expected, rtol=0, atol=1e-15)
    grads = KERNEL.backward(dy, x, weight, mean, invstd, uses_batch_statistics=True)
    assert grads.bias is not None
    assert grads.weight is not None
    assert grads.bias.tolist() == [sum_dy]
    torch.testing.assert_close(grads.weight, sums.sum_dy_xmu * invstd)


def test_gradient_with_fixed_statistics_by_hand() -> None:
    invstd = torch.tensor([0.5, 0.25])
    dx = KERNEL.backward_input_fixed(DY, invstd, WEIGHT)
    assert dx.tolist() == [[1.5, 2.0], [0.0, 0.0], [0.0, 0.0], [4.5, -2.0]]


@pytest.mark.skipif(
    np.finfo(np.longdouble).eps >= np.finfo(np.float64).eps,
    reason="numpy.longdouble is no wider than float64 here",
)
@pytest.mark.parametrize("mean_over_std", [0.0, 1.0, 1e5])
@pytest.mark.parametrize("route", [whole_results, staged_results])
def test_in_float64_it_is_held_against_longdouble(route: object, mean_over_std: float) -> None:
    x = drawn((31, 3, 17, 13), torch.float64, mean=mean_over_std)
    problem = problem_of(x)._replace(grad_output=drawn((31, 3, 17, 13), torch.float64, mean=0.2))
    results = route(KERNEL, problem)  # type: ignore[operator]
    truth, torchs = longdouble_results(problem), torch_results(problem)
    for name, own, true, torch_own in zip(Results._fields, results, truth, torchs, strict=True):
        assert_within_bar(name, own, torch_own, true)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_it_computes_in_float64_whatever_it_is_given(dtype: torch.dtype) -> None:
    x = drawn((64, 3), dtype)
    y, statistics, invstd = KERNEL.forward(x, None, None, 1e-5)
    wide = KERNEL.forward(x.double(), None, None, 1e-5)
    assert statistics.mean.dtype == statistics.var.dtype == invstd.dtype == torch.float64
    torch.testing.assert_close(y, wide.y.to(dtype), rtol=0, atol=0)
    torch.testing.assert_close(statistics.var, wide.statistics.var, rtol=0, atol=0)
