from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from bnkit.errors import NetworkError
from bnkit.lab.networks.keras import MeanOverPositions, keras_conv, keras_dense


def test_batch_norm_stands_after_each_activation_with_kerass_eps_and_decay() -> None:
    dense = [type(layer).__name__ for layer in keras_dense((1, 5), 2)]
    assert dense == ["Flatten", *["Linear", "ReLU", "BatchNorm1d"] * 2, "Linear"]
    conv = [type(layer).__name__ for layer in keras_conv((3, 28, 28), 2, flatten=True)]
    body = [*["Conv2d", "ReLU", "BatchNorm2d"] * 2, "MaxPool2d", "ChannelsLast"]
    assert conv == [*body, "Flatten", "Linear"]
    for network in (keras_dense((1, 5), 2), keras_conv((3, 28, 28), 2)):
        norms = [m for m in network if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
        assert [(norm.eps, norm.momentum) for norm in norms] == [(1e-3, 0.01)] * 2


def test_as_published_the_dense_layer_acts_on_each_of_12_by_12_positions() -> None:
    network = keras_conv((3, 28, 28), 2).eval()
    x = torch.randn(2, 3, 28, 28)
    positions = network[:-1](x)
    assert positions.shape == (2, 12, 12, 2)
    expected = positions.softmax(-1).mean((1, 2))
    torch.testing.assert_close(network(x).softmax(1), expected)
    torch.testing.assert_close(network(x).exp(), expected)


def test_the_mean_over_positions_stays_finite_for_large_logits() -> None:
    logits = torch.tensor([[[[200.0, -200.0], [-200.0, 200.0]]]])
    torch.testing.assert_close(
        MeanOverPositions()(logits), torch.full((1, 2), math.log(0.5)), rtol=1e-6, atol=0
    )


def test_flatten_has_kerass_order() -> None:
    network = keras_conv((3, 28, 28), 2, flatten=True).eval()
    x = torch.randn(2, 3, 28, 28)
    pooled = network[:7](x)
    assert pooled.shape == (2, 32, 12, 12)
    by_hand = pooled.permute(0, 2, 3, 1).reshape(2, -1)
    torch.testing.assert_close(network[:9](x), by_hand, rtol=0, atol=0)


def test_weights_are_glorots_and_biases_zero() -> None:
    torch.manual_seed(0)
    linear = keras_dense((400,), 2, hidden=(300,))[1]
    bound = math.sqrt(6 / 700)
    assert 0.99 * bound < linear.weight.abs().max() <= bound
    assert not linear.bias.any()


def test_small_images_and_bad_widths_are_refused() -> None:
    assert keras_conv((3, 6, 6), 2, flatten=True)(torch.randn(2, 3, 6, 6)).shape == (2, 2)
    with pytest.raises(NetworkError, match="at least 6×6 pixels"):
        keras_conv((3, 5, 28), 2)
    with pytest.raises(NetworkError, match="at least one width"):
        keras_dense((5,), 2, hidden=[])
    with pytest.raises(NetworkError, match="filters = 0"):
        keras_conv((3, 28, 28), 2, filters=0)
