"""What `work_through` refuses, given from Python."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from bnkit.errors import (
    ArgumentError,
    BnkitError,
    DataError,
    TensorMismatchError,
    TensorShapeError,
)
from bnkit.explain import work_through

X = [[1.0, 2.0], [3.0, 5.0]]

REFUSED = [
    ({"x": [1.0, 2.0]}, TensorShapeError, "x has shape (2,), 1 axis; it must have shape (N, C)"),
    ({"x": 3.0}, TensorShapeError, "x has shape (), 0 axes"),
    ({"x": np.zeros((1, 2, 3, 4, 5))}, TensorShapeError, "x.reshape(N, C, D * H, W)"),
    ({"x": np.zeros((2, 2, 1, 1, 1, 1))}, TensorShapeError, "6 axes"),
    ({"x": []}, TensorShapeError, "x has shape (0,), 1 axis"),
    ({"x": [[], []]}, TensorShapeError, "x has shape (2, 0), no values at all"),
    ({"x": np.zeros((0, 3, 2, 2))}, TensorShapeError, "no values at all"),
    ({"x": [[1.0, 2.0]]}, TensorShapeError, "x has shape (1, 2), one value per channel"),
    ({"x": np.zeros((1, 4, 1, 1))}, TensorShapeError, "training statistics need at least two"),
    ({"x": [[1.0, 2.0], [3.0]]}, ArgumentError, "it must be a rectangular array of numbers"),
    ({"x": [["a", "b"]]}, ArgumentError, "x holds values of type <U1; it must hold real numbers"),
    ({"x": [[True], [False]]}, ArgumentError, "x holds values of type bool"),
    ({"x": [[1j], [2j]]}, ArgumentError, "x holds values of type complex128"),
    ({"x": [[None], [1.0]]}, ArgumentError, "x holds values of type object"),
    ({"x": torch.ones(2, 2, requires_grad=True)}, ArgumentError, "detached CPU tensor"),
    ({"x": [[1.0, 2.0], [np.nan, 5.0]]}, DataError, "x[1, 0] is nan; every value must be a finite"),
    ({"x": [[1.0, -np.inf], [3.0, 5.0]]}, DataError, "x[0, 1] is -inf"),
    ({"weight": [1.0]}, TensorMismatchError, "weight has 1 values, and x has 2 channels (its axis"),
    (
        {"bias": [1.0, 2.0, 3.0]},
        TensorMismatchError,
        "Give bias as a list of length 2, or leave it",
    ),
    ({"running_mean": 3.0}, TensorMismatchError, "running_mean has shape ()"),
    ({"running_var": [[1.0, 2.0]]}, TensorMismatchError, "running_var has shape (1, 2)"),
    ({"weight": [1.0, np.nan]}, DataError, "weight[1] is nan"),
    ({"running_var": [1.0, -0.5]}, ArgumentError, "running_var[1] is -0.5; a variance is never"),
    ({"eps": 0.0}, ArgumentError, "got eps = 0.0; it must be a finite number above 0"),
    ({"eps": -1e-5}, ArgumentError, "got eps = -1e-05"),
    ({"eps": float("nan")}, ArgumentError, "got eps = nan"),
    ({"eps": float("inf")}, ArgumentError, "got eps = inf"),
    ({"eps": "1e-5"}, ArgumentError, "got eps = '1e-5'"),
    ({"eps": True}, ArgumentError, "got eps = True"),
    ({"eps": None}, ArgumentError, "got eps = None"),
    ({"momentum": 1.5}, ArgumentError, "got momentum = 1.5; it must lie between 0 and 1"),
    ({"momentum": -0.1}, ArgumentError, "torch takes any number without a word"),
    ({"momentum": float("nan")}, ArgumentError, "got momentum = nan"),
    ({"momentum": "0.1"}, ArgumentError, "got momentum = '0.1'"),
    ({"momentum": None}, ArgumentError, "in torch means a cumulative average"),
]


@pytest.mark.parametrize(("change", "kind", "message"), REFUSED)
def test_refused(change, kind, message):
    with pytest.raises(kind, match=re.escape(message)) as caught:
        work_through(**{"x": X} | change)
    assert isinstance(caught.value, BnkitError)
    assert caught.value.required
    assert caught.value.remedy


@pytest.mark.parametrize("momentum", [-0.5, 1.5])
def test_torch_does_what_the_momentum_message_says(momentum):
    """torch takes such a momentum, its running_var turns negative, and inference gives NaN."""
    x = torch.tensor([[0.0], [3.0]]) if momentum < 0 else torch.tensor([[0.0], [0.1]])
    layer = torch.nn.BatchNorm1d(1, momentum=momentum)
    layer(x)
    assert (layer.running_var < 0).all()
    assert layer.eval()(x).isnan().all()


def test_torch_refuses_one_value_per_channel_too():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        torch.nn.BatchNorm2d(4)(torch.zeros(1, 4, 1, 1))


def test_five_axes_may_be_joined_as_the_message_says():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 2, 5))
    joined = work_through(x.reshape(2, 3, 8, 5)).y
    expected = torch.nn.BatchNorm3d(3, dtype=torch.float64)(torch.tensor(x)).detach()
    torch.testing.assert_close(torch.tensor(joined).reshape(x.shape), expected)


def test_cumulative_average_is_momentum_one_over_k_as_the_message_says():
    rng = np.random.default_rng(0)
    layer = torch.nn.BatchNorm1d(2, momentum=None, dtype=torch.float64)
    mean, var = None, None
    for k in (1, 2, 3):
        x = rng.normal(size=(5, 2))
        layer(torch.tensor(x))
        example = work_through(x, momentum=1 / k, running_mean=mean, running_var=var)
        mean, var = example.running_mean, example.running_var
        torch.testing.assert_close(torch.tensor(mean), layer.running_mean)
        torch.testing.assert_close(torch.tensor(var), layer.running_var)
