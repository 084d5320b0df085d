from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import nn

from bnkit.errors import NetworkError
from bnkit.lab.networks import NetworkSettings, initialize


def init(value: Any) -> Any:
    return NetworkSettings.model_validate({"name": "x", "init": value}).init


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(20, 60, 5), nn.BatchNorm2d(60), nn.Flatten(), nn.Linear(60, 500, bias=False)
    )


@pytest.mark.parametrize(
    ("given", "conv_std", "linear_std", "is_uniform"),
    [
        ({"name": "normal", "std": 0.3}, 0.3, 0.3, False),
        ("glorot", math.sqrt(2 / (500 + 1500)), math.sqrt(2 / 560), True),
        (
            {"name": "glorot", "distribution": "normal"},
            math.sqrt(2 / 2000),
            math.sqrt(2 / 560),
            False,
        ),
        ("he", math.sqrt(2 / 500), math.sqrt(2 / 60), False),
        ({"name": "he", "distribution": "uniform"}, math.sqrt(2 / 500), math.sqrt(2 / 60), True),
    ],
)
def test_weights_have_the_deviation_and_the_shape_that_are_stated(
    given: Any, conv_std: float, linear_std: float, is_uniform: bool
) -> None:
    model = network()
    initialize(model, init(given), "x")
    for layer, std in ((model[0], conv_std), (model[3], linear_std)):
        weight = layer.weight.detach()
        # 30,000 values: five standard errors of mean and deviation.
        assert abs(weight.mean()) < 5 * std / math.sqrt(weight.numel())
        assert abs(weight.std() / std - 1) < 5 / math.sqrt(2 * weight.numel())
        assert (weight.abs().max() <= math.sqrt(3) * std * (1 + 1e-6)) == is_uniform
    assert not model[0].bias.any()


def test_only_convolutions_and_linear_layers_change() -> None:
    model = nn.ModuleDict(
        {
            "norm": nn.BatchNorm1d(4),
            "lstm": nn.LSTM(4, 4),
            "embedding": nn.Embedding(4, 4),
            "linear": nn.Linear(4, 4),
            "up": nn.ConvTranspose1d(4, 4, 3),
        }
    )
    nn.init.constant_(model["norm"].weight, 0.7)
    before = copy.deepcopy(model.state_dict())
    initialize(model, init("he"), "x")
    changed = {
        key for key, value in model.state_dict().items() if not torch.equal(value, before[key])
    }
    assert changed == {"linear.weight", "linear.bias", "up.weight", "up.bias"}


def test_default_changes_nothing_and_draws_nothing() -> None:
    model, before = network(), network().state_dict()
    state = torch.get_rng_state()
    initialize(model, init("default"), "x")
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert torch.equal(state, torch.get_rng_state())


def test_the_seed_determines_the_weights_whatever_their_dtype() -> None:
    single, double = network(), network().double()
    for model in (single, double):
        torch.manual_seed(5)
        initialize(model, init({"name": "normal", "std": 2.0}), "x")
    torch.testing.assert_close(single[0].weight.double(), double[0].weight, rtol=0, atol=0)


def test_a_network_whose_weights_cannot_be_set_is_refused() -> None:
    with pytest.raises(NetworkError, match=r"network x: network.init = 'he', and there is no"):
        initialize(nn.LSTM(2, 2), init("he"), "x")
    normed = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)))
    with pytest.raises(NetworkError, match="0 computes its weight from other parameters"):
        initialize(normed, init("he"), "x")
