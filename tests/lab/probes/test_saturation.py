"""Saturation and dead units against loops over single outputs, and known answers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import bnkit
from bnkit.errors import ProbeError
from bnkit.lab.probes.saturation import Saturation, is_saturated
from lab.probes.one_probe import Branched, at_start, examples


def test_equals_autograds_derivative_and_a_loop_over_units() -> None:
    model, held_out = Branched(), examples()
    with torch.no_grad():
        model.norm1.bias -= 0.3
        model.norm1.bias[1] = -50.0
        model.mix.weight *= 40
    found = at_start(model, Saturation(examples=15), held_out=held_out)
    images = torch.cat([images for images, _ in held_out.batches(15)])
    model.eval()
    first = model.relu(model.norm1(model.conv1(images)))
    second = model.relu(first + model.norm2(model.conv2(first)))
    dead = [bool((first[:, c] == 0).all() and (second[:, c] == 0).all()) for c in range(4)]
    before = model.mix(torch.cat([first, second], 1)).detach().double().requires_grad_()
    (derivative,) = torch.autograd.grad(before.tanh().sum(), before)
    saturated = sum(float(d) < 0.01 for d in derivative.flatten()) / derivative.numel()
    assert 0.1 < saturated < 0.9
    assert found == {
        ("dead units", "relu", None): sum(dead) / 4,
        ("saturation", "tanh", None): pytest.approx(saturated, abs=1e-12),
    }


@pytest.mark.parametrize(("activation", "edge"), [("sigmoid", 5.98645), ("tanh", 2.99322)])
def test_the_edge_of_saturation_in_closed_form(activation: str, edge: float) -> None:
    # y(1 − y) = 0.0025 at ln((1 + √0.99)/(1 − √0.99)); 1 − y² = 0.01 at half of that.
    exact = math.log((1 + math.sqrt(0.99)) / (1 - math.sqrt(0.99)))
    assert edge == pytest.approx(exact if activation == "sigmoid" else exact / 2, abs=1e-4)
    x = torch.tensor([-edge - 0.001, -edge + 0.001, 0.0, edge - 0.001, edge + 0.001])
    y = getattr(torch, activation)(x)
    assert is_saturated(y, activation).tolist() == [True, False, False, False, True]


class Shared(nn.Module):
    """One ReLU over 4 units, of which one is dead, and over 2, of which both are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow, self.relu = nn.Linear(5, 4), nn.Linear(4, 2), nn.ReLU()
        nn.init.constant_(self.wide.bias, 100.0)
        nn.init.constant_(self.narrow.bias, 1000.0)
        with torch.no_grad():
            self.wide.bias[0] = -100.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.narrow(self.relu(self.wide(x))))


def test_a_shared_relu_counts_the_units_of_each_of_its_widths() -> None:
    found = at_start(Shared(), Saturation(), held_out=examples((20, 5)))
    assert found == {("dead units", "relu", None): pytest.approx(1 / 6)}


def test_units_behind_a_linear_layer_over_sequences_are_last() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3))
    with torch.no_grad():
        model[0].bias.copy_(torch.tensor([-100.0, 100, 100, 100]))
    held_out = examples((20, 3, 5))
    assert at_start(model, Saturation(channel_axis=-1), held_out=held_out) == {
        ("dead units", "1", None): 0.25
    }
    with pytest.raises(ProbeError, match=r"1: channel_axis = 3, and the tensor is of shape \(6, 3"):
        at_start(model, Saturation(channel_axis=3), held_out=held_out)


def test_nan_activations_are_recorded_as_such_and_a_fused_activation_is_seen() -> None:
    model = nn.Sequential(
        nn.Linear(5, 4), bnkit.BatchNormAct1d(4, "sigmoid"), nn.Linear(4, 4), nn.ReLU()
    )
    probe = Saturation(layers=["1", "every activation"])
    with torch.no_grad():
        model[0].bias[0] = math.nan
    found = at_start(model, probe, held_out=examples((20, 5)))
    assert set(found) == {("saturation", "1", None), ("dead units", "3", None)}
    assert all(math.isnan(value) for value in found.values())


@pytest.mark.parametrize("layers", ["0", "every activation", "input of 2"])
def test_layers_that_do_not_saturate_are_refused(layers: str) -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.GELU(), nn.Hardswish())
    with pytest.raises(ProbeError, match=r"names .*\(.*; the output of a sigmoid, tanh or ReLU"):
        Saturation(layers=layers).prepare(model)


@pytest.mark.parametrize("axis", [0, True, "last"])
def test_what_is_no_axis_of_channels_is_refused(axis: object) -> None:
    with pytest.raises(ProbeError, match="channel_axis ="):
        Saturation(channel_axis=axis)
