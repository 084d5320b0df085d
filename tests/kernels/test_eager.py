"""The eager kernel's stages keep full float32 accuracy where mean ≫ std, beyond what torch does."""

from __future__ import annotations

import pytest
import torch

from bnkit.kernels import kernel_named
from helpers.accuracy import ULPS, largest_error, unit_in_last_place
from helpers.problems import drawn, problem_of
from helpers.results import EPS, Problem, longdouble_results, staged_results, torch_results

EPS32 = torch.finfo(torch.float32).eps


@pytest.fixture(params=[(512, 3), (8, 3, 57, 61)], ids=str)
def problem(request: pytest.FixtureRequest) -> Problem:
    shape = request.param
    grad_output = drawn(shape, torch.float32, mean=0.3).flip(0)
    x = drawn(shape, torch.float32, mean=1e5)
    return problem_of(x)._replace(grad_output=grad_output)


def test_the_mean_is_known_to_more_than_float32(problem: Problem) -> None:
    statistics = kernel_named("eager").statistics(problem.x)
    true_mean = longdouble_results(problem).mean
    # A unit in the last place of a float32 mean of 1e5 is 0.008 standard deviations.
    assert largest_error(statistics.mean, true_mean) <= 8 * EPS32
    assert largest_error(statistics.mean.float(), true_mean) > 100 * EPS32


def test_output_and_input_gradient_are_as_exact_as_without_a_mean(problem: Problem) -> None:
    results, truth = staged_results(kernel_named("eager"), problem), longdouble_results(problem)
    for own, true in ((results.y, truth.y), (results.grad_x, truth.grad_x)):
        largest = float(true.abs().max())
        assert largest_error(own, true) <= ULPS * unit_in_last_place(largest, torch.float32)


def test_the_weights_gradient_has_the_error_of_its_summation_alone(problem: Problem) -> None:
    results, truth = staged_results(kernel_named("eager"), problem), longdouble_results(problem)
    x, dy = problem.x.double(), problem.grad_output.double()
    axes = (0, *range(2, x.dim()))
    x_hat = (x - x.mean(axes, keepdim=True)) / x.std(axes, keepdim=True)
    # Each term is rounded a few times, and the terms are summed in float32.
    allowed = 4 * EPS32 * (dy * x_hat).abs().sum(axes)
    assert results.grad_weight is not None
    assert truth.grad_weight is not None
    assert bool(((results.grad_weight - truth.grad_weight).abs() <= allowed).all())


def test_these_bounds_can_fail(problem: Problem) -> None:
    """torch, whose mean is rounded to float32 between the passes, does not meet them."""
    torchs, truth = torch_results(problem), longdouble_results(problem)
    largest = float(truth.grad_x.abs().max())
    allowed = ULPS * unit_in_last_place(largest, torch.float32)
    assert largest_error(torchs.grad_x, truth.grad_x) > allowed


def test_an_infinite_fixed_mean_gives_what_torch_gives() -> None:
    x, mean = drawn((4, 2), torch.float32), torch.tensor([float("inf"), 0.0])
    y = kernel_named("eager").normalize(x, mean, torch.ones(2), None, None)
    expected = torch.nn.functional.batch_norm(x, mean, torch.ones(2) - EPS, eps=EPS)
    torch.testing.assert_close(y, expected, equal_nan=True)
