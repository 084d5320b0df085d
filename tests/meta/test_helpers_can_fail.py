"""Each comparing helper rejects a deliberately wrong input."""

from __future__ import annotations

import pytest
import torch

from bnkit.kernels import kernel_named
from helpers.accuracy import (
    assert_same_nonfinite,
    assert_within_bar,
    largest_error,
    unit_in_last_place,
)
from helpers.problems import LAYOUTS, as_dtype, laid_out, problem_of
from helpers.results import longdouble_results, staged_results, torch_results


def test_a_unit_in_the_last_place_is_the_step_to_the_next_number() -> None:
    one = torch.tensor(1.5)
    step = torch.nextafter(one, torch.tensor(2.0)) - one
    assert unit_in_last_place(1.5, torch.float32) == float(step)
    assert unit_in_last_place(-3.0, torch.float32) == 2 * float(step)
    assert unit_in_last_place(0.0, torch.float32) > 0


def test_the_bar_lets_through_what_it_should() -> None:
    truth = torch.tensor([1.0, 2.0], dtype=torch.float64)
    torchs = truth.float()
    assert_within_bar("exact", torchs, torchs, truth)
    assert_within_bar("8 ulp", torchs + 8 * 2.0**-22, torchs, truth)
    assert largest_error(torchs, truth + 1) == 1.0


@pytest.mark.parametrize(
    "wrong",
    [
        torch.tensor([1.0, 2.0 + 9 * 2.0**-22]),
        torch.tensor([1.0, float("nan")]),
        torch.tensor([[1.0], [2.0]]),
    ],
    ids=["9-ulp", "nan", "shape"],
)
def test_the_bar_rejects(wrong: torch.Tensor) -> None:
    truth = torch.tensor([1.0, 2.0], dtype=torch.float64)
    with pytest.raises(AssertionError, match="quantity"):
        assert_within_bar("quantity", wrong, truth.float(), truth)


def test_the_bar_follows_torchs_error_up_to_a_quarter_more() -> None:
    truth = torch.zeros(1, dtype=torch.float64)
    torchs = torch.tensor([1.0])
    assert_within_bar("a quarter", torch.tensor([1.25]), torchs, truth)
    with pytest.raises(AssertionError, match="error"):
        assert_within_bar("more", torch.tensor([1.26]), torchs, truth)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_the_comparison_of_nonfinite_values_rejects(value: float) -> None:
    torchs = torch.tensor([value, 1.0])
    assert_same_nonfinite("same", torchs.clone(), torchs)
    with pytest.raises(AssertionError, match="y: is"):
        assert_same_nonfinite("y", torch.tensor([1.0, 1.0]), torchs)


def test_the_two_truths_are_two_computations_that_agree() -> None:
    problem = problem_of(laid_out("contiguous"))
    by_longdouble = longdouble_results(problem)
    by_float64 = staged_results(kernel_named("reference"), problem)
    for one, other in zip(by_longdouble, by_float64, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-13)


def test_a_wrong_gradient_of_a_kernel_would_be_seen() -> None:
    problem = problem_of(laid_out("contiguous"))
    truth, torchs = longdouble_results(problem), torch_results(problem)
    shifted = problem._replace(x=problem.x + 1e-9 * problem.x.square())
    wrong = staged_results(kernel_named("reference"), shifted)
    with pytest.raises(AssertionError, match="grad_x"):
        assert_within_bar("grad_x", wrong.grad_x, torchs.grad_x, truth.grad_x)


def test_the_layouts_are_what_they_are_called() -> None:
    strides = {layout: laid_out(layout).stride() for layout in LAYOUTS}
    assert len(set(strides.values())) == len(LAYOUTS)
    assert strides["channels-last"][1] == 1
    assert 0 in strides["expanded"]
    for layout in LAYOUTS:
        assert laid_out(layout).shape == (6, 4, 5, 7)
        assert as_dtype(laid_out(layout), torch.float16).stride()[2:] != ()
    assert as_dtype(laid_out("expanded"), torch.float16).stride()[2] == 0
