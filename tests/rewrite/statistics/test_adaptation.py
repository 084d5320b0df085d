"""adapt: the target's statistics, blended in by a stated weight."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import bnkit
from bnkit.errors import ArgumentError, ArgumentTypeError, RewriteError

TARGET = torch.randn(30, 2, generator=torch.Generator().manual_seed(0)) * 3 + 5


def source() -> nn.Module:
    model = nn.Sequential(nn.BatchNorm1d(2))
    model[0].running_mean.copy_(torch.tensor([1.0, -1.0]))
    model[0].running_var.copy_(torch.tensor([0.5, 2.0]))
    return model


@pytest.mark.parametrize(
    ("options", "weight"),
    [
        ({"weight": 0.25}, 0.25),
        ({"prior": 10}, 0.75),
        ({"weight": 1}, 1.0),
        ({"weight": np.float32(0.5)}, 0.5),
        ({"weight": torch.tensor(0.5)}, 0.5),
        ({"weight": Fraction(1, 4)}, 0.25),
        ({"prior": np.int64(10)}, 0.75),
        ({"prior": np.array(10)}, 0.75),
    ],
)
def test_the_blend_is_that_of_means_and_of_variances(
    options: dict[str, Any], weight: float
) -> None:
    given = source()
    rewrite = bnkit.adapt(given, list(TARGET.split(11)), **options)
    layer, old = rewrite.model[0], given[0]
    mean = (1 - weight) * old.running_mean + weight * TARGET.mean(0)
    var = (1 - weight) * old.running_var + weight * TARGET.var(0)
    torch.testing.assert_close(layer.running_mean, mean)
    torch.testing.assert_close(layer.running_var, var)
    assert layer.num_batches_tracked == 0
    assert f"{weight:.3g} of that taken" in str(rewrite)


def test_weight_0_keeps_the_source_and_undo_brings_it_back() -> None:
    model = source()
    assert torch.equal(
        bnkit.adapt(model, [TARGET], weight=0).model[0].running_var, model[0].running_var
    )
    rewrite = bnkit.adapt(model, [TARGET], weight=1, inplace=True)
    assert not torch.equal(model[0].running_var, source()[0].running_var)
    rewrite.undo()
    assert torch.equal(model[0].running_var, source()[0].running_var)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ArgumentError, "neither weight nor prior was given"),
        ({"weight": 1, "prior": 1}, ArgumentError, "both weight and prior were given"),
        ({"weight": 1.5}, ArgumentError, "weight=1.5; a number from 0 to 1"),
        ({"weight": float("nan")}, ArgumentError, "weight=nan"),
        ({"prior": -1}, ArgumentError, "prior=-1; a number from 0"),
        ({"prior": float("inf")}, ArgumentError, "prior=inf"),
        ({"weight": "1"}, ArgumentTypeError, "weight is a str"),
        ({"weight": True}, ArgumentTypeError, "weight is a bool"),
        ({"weight": torch.tensor(True)}, ArgumentTypeError, "weight is a bool"),
        ({"weight": torch.tensor([0.5])}, ArgumentTypeError, "weight is a Tensor"),
        ({"weight": 0.5j}, ArgumentTypeError, "weight is a complex"),
    ],
)
def test_bad_weights_are_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        bnkit.adapt(source(), [TARGET], **options)


def test_statistics_that_are_not_finite_cannot_be_blended_but_replaced() -> None:
    model = source()
    model[0].running_var[1] = float("nan")
    with pytest.raises(RewriteError, match=r"^0: its running_var holds NaN or infinity"):
        bnkit.adapt(model, [TARGET], weight=0.5)
    rewrite = bnkit.adapt(model, [TARGET], weight=1)
    assert "the stored statistics were not finite" in str(rewrite)
    assert rewrite.model[0].running_var.isfinite().all()
