from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnkit import remove
from bnkit.errors import RewriteError
from bnkit.rewrite.output_difference import largest_difference, relative_difference

X = torch.zeros(2, 3)


@dataclass
class Output:
    logits: Tensor


class Returns(nn.Module):
    """Adds 5 in a batch norm's bias, and returns what a test case makes of the result."""

    def __init__(self, make: Callable[[nn.Module, Tensor], Any], bias: float = 5.0) -> None:
        super().__init__()
        self.norm, self.make = nn.BatchNorm1d(3), make
        nn.init.constant_(self.norm.bias, bias)

    def forward(self, x: Tensor) -> Any:
        return self.make(self, self.norm(x))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda _, y: y, 5.0),
        (lambda _, y: Output(y), 5.0),
        (lambda _, y: {"a": [y * 0, (y,)]}, 5.0),
        (lambda _, y: y.long(), 5.0),
        (lambda _, y: torch.complex(y * 0, y), 5.0),
        (lambda _, y: y.to_sparse(), 5.0),
        (lambda _, y: y > 1, 1.0),
        (lambda _, y: None, None),
        (lambda _, y: 3.0, None),
        (lambda _, y: y[:0], None),
        (lambda _, y: torch.zeros(1), 0.0),
    ],
)
def test_the_difference_is_that_of_the_tensors_in_the_output(
    make: Callable[[nn.Module, Tensor], Any], expected: float | None
) -> None:
    assert remove(Returns(make), X).difference == expected


@pytest.mark.parametrize("bias", [math.nan, math.inf])
def test_what_is_not_finite_shows(bias: float) -> None:
    difference = remove(Returns(lambda _, y: [y, y], bias), X).difference
    assert difference is not None
    assert not math.isfinite(difference)


def test_nan_in_one_of_several_outputs_shows() -> None:
    one, nan = torch.ones(2), torch.tensor([math.nan, 0.0])
    assert math.isnan(largest_difference([nan, one], [one, one]) or 0.0)
    assert math.isnan(largest_difference([one, one], [one, nan]) or 0.0)


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda m, y: [y] if isinstance(m.norm, nn.BatchNorm1d) else [y, y],
        lambda m, y: y if isinstance(m.norm, nn.BatchNorm1d) else y[:1],
    ],
)
def test_outputs_of_another_structure_are_refused(
    make: Callable[[nn.Module, Tensor], Any], inplace: bool
) -> None:
    model = Returns(make)
    with pytest.raises(RewriteError, match="returns tensors of shapes"):
        remove(model, X, inplace=inplace)
    assert isinstance(model.norm, nn.BatchNorm1d)


def test_an_example_that_the_network_changes_in_place_does_not_blur_the_difference() -> None:
    x = torch.full((2, 3), 1.0)
    rewrite = remove(nn.Sequential(Adds(), nn.BatchNorm1d(3)).double(), x.double())
    assert rewrite.difference == pytest.approx(2 - 2 / (1 + 1e-5) ** 0.5)


class Adds(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.add_(1)


def test_infinities_that_stay_are_no_difference() -> None:
    masked = torch.tensor([-math.inf, 1.0])
    assert largest_difference([masked], [masked + 0.5]) == 0.5


def test_relative_differences_are_in_units_of_each_tensors_largest_value() -> None:
    before = [torch.tensor([1.0, -100.0]), torch.tensor([0.5, 0.0]), torch.zeros(2)]
    after = [torch.tensor([2.0, -100.0]), torch.tensor([0.5, 0.05]), torch.tensor([0.0, 0.02])]
    assert relative_difference(before, after) == pytest.approx(0.1)
    assert relative_difference([before[0]], [after[0]]) == pytest.approx(0.01)
    assert relative_difference([], []) is None
    assert math.isnan(relative_difference([before[0]], [after[0] * math.nan]) or 0.0)
