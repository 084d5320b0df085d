"""What every kernel promises. A new kernel is one more entry of KERNELS.

Each result of the whole passes and of the stages is held against higher precision, by the bar
that torch's own error and the dtype set (helpers/accuracy.py).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from bnkit.kernels import Kernel, kernel_named, merge_statistics
from bnkit.kernels.contract import inverse_std
from helpers.accuracy import assert_same_nonfinite, assert_within_bar, largest_error
from helpers.problems import DTYPES, LAYOUTS, SHAPES, as_dtype, drawn, laid_out, problem_of
from helpers.results import (
    EPS,
    Problem,
    Results,
    staged_results,
    torch_results,
    true_results,
    whole_results,
)

KERNELS = ("reference", "eager", "numba")

Route = Callable[[Kernel, Problem], Results]

pytestmark = pytest.mark.parametrize("name", KERNELS)
routes = pytest.mark.parametrize("route", [whole_results, staged_results], ids=["whole", "stages"])
dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d).removeprefix("torch."))


def assert_meets_bar(name: str, route: Route, problem: Problem) -> None:
    """Compare each result of a kernel with the truth."""
    results = route(kernel_named(name), problem)
    assert results.y.dtype == results.grad_x.dtype == problem.x.dtype
    torchs, truth = torch_results(problem), true_results(problem)
    for quantity, actual, own, true in zip(Results._fields, results, torchs, truth, strict=True):
        if true is not None:
            assert actual is not None
            assert own is not None
            assert_within_bar(quantity, actual.to(own.dtype), own, true)


@routes
@dtypes
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_result_on_every_rank(
    name: str, route: Route, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    assert_meets_bar(name, route, problem_of(drawn(shape, dtype)))


@routes
@dtypes
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_result_in_every_layout(
    name: str, route: Route, dtype: torch.dtype, layout: str
) -> None:
    assert_meets_bar(name, route, problem_of(as_dtype(laid_out(layout), dtype)))


@routes
@dtypes
def test_without_weight_and_bias(name: str, route: Route, dtype: torch.dtype) -> None:
    assert_meets_bar(name, route, problem_of(drawn((8, 3, 6, 5), dtype), affine=False))


@routes
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mean_over_std", [1e2, 1e5])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("shape", [(64, 3), (16, 3, 17, 13), (8, 3, 57, 61)], ids=str)
def test_a_mean_far_beyond_the_standard_deviation(
    name: str,
    route: Route,
    dtype: torch.dtype,
    mean_over_std: float,
    channels_last: bool,
    shape: tuple[int, ...],
) -> None:
    x = drawn(shape, dtype, mean=mean_over_std)
    if channels_last and x.dim() == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    problem = problem_of(x)
    # A gradient of ordinary size: problem_of's follows x.
    grad_output = drawn(shape, dtype, mean=0.3).flip(0)
    assert_meets_bar(name, route, problem._replace(grad_output=grad_output))


@routes
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("std", [1e-6, 1e-3, 1e6])
def test_variances_far_below_and_above_eps(
    name: str, route: Route, dtype: torch.dtype, std: float
) -> None:
    assert_meets_bar(name, route, problem_of(drawn((32, 3, 5, 5), dtype, std=std)))


@routes
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_many_values_per_channel(
    name: str, route: Route, memory_format: torch.memory_format
) -> None:
    x = drawn((16, 2, 61, 67), torch.float32).contiguous(memory_format=memory_format)
    assert_meets_bar(name, route, problem_of(x))


@routes
@dtypes
def test_a_constant_channel(name: str, route: Route, dtype: torch.dtype) -> None:
    x = drawn((8, 3, 4, 4), dtype)
    x[:, 1] = 2.5
    assert_meets_bar(name, route, problem_of(x))


@dtypes
def test_channels_last_stays_channels_last(name: str, dtype: torch.dtype) -> None:
    x = laid_out("channels-last").to(dtype)
    results = whole_results(kernel_named(name), problem_of(x))
    assert results.y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@routes
def test_nan_and_inf_propagate_as_in_torch(name: str, route: Route, value: float) -> None:
    x = drawn((4, 3, 5, 5), torch.float32)
    x[1, 2, 3, 3] = value
    problem = problem_of(x)._replace(grad_output=drawn((4, 3, 5, 5), torch.float32))
    results, torchs = route(kernel_named(name), problem), torch_results(problem)
    for quantity, actual, own in zip(Results._fields, results, torchs, strict=True):
        assert actual is not None
        assert own is not None
        assert_same_nonfinite(quantity, actual, own)
    assert bool(results.y[:, :2].isfinite().all())


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4, 4), (2, 3, 0, 4)], ids=str)
@dtypes
def test_an_empty_input_gives_empty_results(
    name: str, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    kernel, x, weight = kernel_named(name), torch.empty(shape, dtype=dtype), torch.ones(3)
    y, statistics, invstd = kernel.forward(x, weight, weight, EPS)
    grads = kernel.backward(y, x, weight, statistics.mean, invstd, uses_batch_statistics=True)
    assert y.shape == shape
    assert statistics.m == 0
    torch.testing.assert_close(statistics.mean.float(), torch.zeros(3))
    torch.testing.assert_close(statistics.var.float(), torch.zeros(3))
    assert grads.x is not None
    assert grads.weight is not None
    assert grads.bias is not None
    assert grads.x.shape == shape
    torch.testing.assert_close(grads.weight.float(), torch.zeros(3))
    torch.testing.assert_close(grads.bias.float(), torch.zeros(3))


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1)], ids=str)
def test_one_value_per_channel_has_no_variance(name: str, shape: tuple[int, ...]) -> None:
    x = drawn(shape, torch.float32)
    y, statistics, _ = kernel_named(name).forward(x, None, None, EPS)
    torch.testing.assert_close(statistics.mean.float(), x.flatten())
    torch.testing.assert_close(statistics.var.float(), torch.zeros(3))
    torch.testing.assert_close(y, torch.zeros(shape))


@dtypes
def test_fixed_statistics_pass_no_gradient_through(name: str, dtype: torch.dtype) -> None:
    problem = problem_of(drawn((8, 3, 6, 5), dtype))
    kernel = kernel_named(name)
    assert problem.weight is not None
    mean, var = drawn((3,), problem.weight.dtype), drawn((3,), problem.weight.dtype).abs()
    invstd = inverse_std(var, EPS)
    y = kernel.normalize(problem.x, mean, invstd, problem.weight, problem.bias)
    grads = kernel.backward(
        problem.grad_output, problem.x, problem.weight, mean, invstd, uses_batch_statistics=False
    )
    leaves = [v.detach().requires_grad_() for v in problem[:3] if v is not None]
    torchs = torch.nn.functional.batch_norm(leaves[0], mean, var, *leaves[1:], eps=EPS)
    torch_grads = torch.autograd.grad(torchs, leaves, problem.grad_output)
    wide = [v.double().requires_grad_() for v in leaves]
    column = (1, 3, 1, 1)
    scale = wide[1] / (var.double() + EPS).sqrt()
    truth = (wide[0] - mean.double().view(column)) * scale.view(column) + wide[2].view(column)
    true_grads = torch.autograd.grad(truth, wide, problem.grad_output.double())
    assert_within_bar("y", y, torchs.detach(), truth.detach())
    for quantity, own, torch_own, true in zip(
        ("grad_x", "grad_weight", "grad_bias"), grads, torch_grads, true_grads, strict=True
    ):
        assert own is not None
        assert_within_bar(quantity, own.to(torch_own.dtype), torch_own, true)


@pytest.mark.parametrize(
    "mask", [(True, False, False), (False, True, False), (False, False, True)], ids=str
)
@pytest.mark.parametrize("uses_batch_statistics", [True, False])
def test_the_output_mask_leaves_gradients_out(
    name: str, mask: tuple[bool, bool, bool], uses_batch_statistics: bool
) -> None:
    kernel, problem = kernel_named(name), problem_of(drawn((8, 3, 6, 5), torch.float32))
    _, statistics, invstd = kernel.forward(problem.x, problem.weight, problem.bias, EPS)
    arguments = (problem.grad_output, problem.x, problem.weight, statistics.mean, invstd)
    every = kernel.backward(*arguments, uses_batch_statistics=uses_batch_statistics)
    masked = kernel.backward(
        *arguments, uses_batch_statistics=uses_batch_statistics, output_mask=mask
    )
    for wanted, full, part in zip(mask, every, masked, strict=True):
        assert (part is not None) == wanted
        if wanted:
            torch.testing.assert_close(part, full)


@pytest.mark.parametrize("split", [0, 1, 5, 16])
def test_statistics_of_two_parts_merge_into_the_wholes(name: str, split: int) -> None:
    kernel, x = kernel_named(name), drawn((16, 3, 5, 7), torch.float32, mean=3.0)
    whole = kernel.statistics(x)
    merged = merge_statistics(kernel.statistics(x[:split]), kernel.statistics(x[split:]))
    assert merged.m == whole.m
    truth = kernel_named("reference").statistics(x)
    assert_within_bar("mean", merged.mean.float(), whole.mean.float(), truth.mean)
    assert_within_bar("var", merged.var.float(), whole.var.float(), truth.var)


def test_stages_over_two_parts_are_the_whole(name: str) -> None:
    """What a synchronised layer does: merge statistics, add up reductions, then the input stage."""
    kernel, problem = kernel_named(name), problem_of(drawn((10, 3, 5, 7), torch.float64))
    x, weight, _, dy = problem
    parts = [(x[:4], dy[:4]), (x[4:], dy[4:])]
    mean, var, m = merge_statistics(*(kernel.statistics(part) for part, _ in parts))
    invstd = inverse_std(var, EPS)
    first, second = (kernel.backward_reduce(part_dy, part, mean) for part, part_dy in parts)
    sums = type(first)(*(a + b for a, b in zip(first, second, strict=True)))
    grad_x = torch.cat(
        [
            kernel.backward_input(part_dy, part, mean, invstd, weight, reductions=sums, m=m)
            for part, part_dy in parts
        ]
    )
    truth = true_results(problem).grad_x
    assert largest_error(grad_x, truth) <= 1e-13


def test_the_inputs_are_left_alone(name: str) -> None:
    problem = problem_of(drawn((8, 3, 6, 5), torch.float32))
    before = [v.clone() for v in problem if v is not None]
    whole_results(kernel_named(name), problem)
    staged_results(kernel_named(name), problem)
    for value, copy in zip((v for v in problem if v is not None), before, strict=True):
        torch.testing.assert_close(value, copy, rtol=0, atol=0)


def test_it_says_what_it_is(name: str) -> None:
    kernel = kernel_named(name)
    assert kernel.name == name
    assert kernel.summary
    assert kernel.refusal(torch.zeros(2, 3)) is None
    x = torch.zeros(2, 3)
    assert kernel.statistics(x).mean.dtype == kernel.statistics_dtype(x)
