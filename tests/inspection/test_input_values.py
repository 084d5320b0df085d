"""What is read from the input of a batch norm: moments, their errors, constant tails."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from bnkit.inspection.input_values import input_values
from helpers.rule_case import values


def read(x: Tensor, samples: int | None = None) -> dict[str, Any]:
    found = input_values(len(x) if samples is None else samples, "norm", x)
    assert found is not None
    return found


def test_errors_are_those_of_the_samples_means() -> None:
    x = values(30, 2, 50) + values(30, 2, 1, seed=1) * 3
    found = read(x)
    means = x.double().mean(2)
    expected = means.std(0) / 30**0.5
    torch.testing.assert_close(torch.tensor(found["mean_error"]).double(), expected)
    assert found["mean_error"][0] > 5 * (found["var"][0] / found["count"]) ** 0.5
    squares = (x.double() - x.double().mean((0, 2))[:, None]).square().mean(2)
    torch.testing.assert_close(torch.tensor(found["var_error"]).double(), squares.std(0) / 30**0.5)


def test_rows_of_one_sample_are_not_independent() -> None:
    x = values(12, 4).repeat_interleave(10, 0)
    assert read(x, 12)["mean_error"] == pytest.approx(read(x[::10], 12)["mean_error"])
    assert read(x, 120)["mean_error"][0] < 0.5 * read(x, 12)["mean_error"][0]


def test_of_one_sample_the_error_is_its_spread() -> None:
    found = read(values(1, 2, 9))
    assert found["mean_error"] == pytest.approx([v**0.5 for v in found["var"]])


def test_tails_along_any_axis_and_in_rows() -> None:
    x = values(3, 2, 16)
    x[0, :, 10:] = 1.5
    x[1, :, 4:] = 0.0
    for view in (x, x[:, :, None], x[..., None].expand(-1, -1, -1, 2)):
        found = read(view.contiguous())
        assert (found["length"], found["trailing_constant"]) == (16, (6, 12, 1))
        assert found["leading_constant"] == (1, 1, 1)
    rows = read(x.transpose(1, 2).reshape(48, 2), 3)
    assert rows["trailing_constant"] == (6, 12, 1)
    assert read(x[:, :, 0])["length"] == 0


def test_what_a_padding_conv_makes_of_a_tail_is_a_tail() -> None:
    x = values(2, 3, 40)
    x[0, :, 20:] = 0.7
    y = torch.nn.functional.conv1d(x, values(4, 3, 5, seed=1), padding=2)
    # From 22 to 37: the kernel reaches two positions before the tail, and two beyond the end.
    assert read(y)["trailing_constant"] == (16, 1)


def test_one_channel_that_goes_on_is_no_tail() -> None:
    x = values(2, 3, 20)
    x[0, :2, 5:] = 0
    assert read(x)["trailing_constant"] == (1, 1)


@pytest.mark.parametrize("x", [torch.ones(3), torch.ones(0, 3), torch.ones(2, 3).long()])
def test_what_is_no_input_of_a_batch_norm_is_left_out(x: Tensor) -> None:
    assert input_values(2, "norm", x) is None
