"""Activation moments and channel scales against NumPy channel by channel, and known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bnkit.errors import ProbeError
from bnkit.lab.probes.activation_moments import ActivationMoments
from lab.probes.one_probe import Branched, at_start, examples


def test_equals_numpy_on_a_network_that_is_no_chain() -> None:
    model, held_out = Branched(), examples()
    found = at_start(model, ActivationMoments(per_channel=True, examples=16), held_out=held_out)
    images = torch.cat([images for images, _ in held_out.batches(16)])
    model.eval()
    first = model.relu(model.norm1(model.conv1(images)))
    second = model.relu(first + model.norm2(model.conv2(first)))
    joined = torch.cat([first, second], 1)
    inputs = {
        "conv1": images,
        "conv2": first,
        "mix": joined,
        "head": model.tanh(model.mix(joined)).mean((2, 3)),
    }
    assert {layer for _, layer, _ in found} == set(inputs)
    for layer, tensor in inputs.items():
        x = tensor.detach().double().numpy()
        means = [x[:, c].mean() for c in range(x.shape[1])]
        variances = [x[:, c].var() for c in range(x.shape[1])]
        for metric, values in (("activation mean", means), ("activation var", variances)):
            per_channel = [found[metric, layer, str(c)] for c in range(len(values))]
            assert per_channel == pytest.approx(values, rel=1e-6, abs=1e-7)  # a float32 forward
            summary = found[metric, layer, "mean"], found[metric, layer, "spread"]
            assert summary == pytest.approx((np.mean(values), np.std(values)), rel=1e-6, abs=1e-7)
        scales = math.sqrt(max(variances) / min(variances))
        assert found["channel scales", layer, None] == pytest.approx(scales, rel=1e-6)


class Scaled(nn.Module):
    """Channels 1 and −1 in turn, times 1, 10 and 0.5: means 0, variances 1, 100, ¼."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        signs = torch.where(x[:, :1] > 0, 1.0, -1.0)
        return self.head(signs * torch.tensor([1.0, 10.0, 0.5]))


def test_known_scales() -> None:
    held_out = examples((20, 5))
    held_out.split.images[:10, 0], held_out.split.images[10:, 0] = 1.0, -1.0
    found = at_start(Scaled(), ActivationMoments(), held_out=held_out)
    assert found["channel scales", "head", None] == pytest.approx(20.0)
    assert found["activation mean", "head", "mean"] == pytest.approx(0.0, abs=1e-12)
    assert found["activation var", "head", "mean"] == pytest.approx((1 + 100 + 0.25) / 3)
    assert len(found) == 5, "channels are recorded only when asked for"


def test_a_constant_channel_is_infinitely_smaller_and_nan_stays_nan() -> None:
    held_out = examples((20, 5))
    held_out.split.images[:, 2] = 0.1
    model = nn.Sequential(nn.Linear(5, 3))
    assert at_start(model, ActivationMoments(), held_out=held_out)["channel scales", "0", None] == (
        math.inf
    )
    held_out.split.images[3, 1] = math.nan
    found = at_start(model, ActivationMoments(), held_out=held_out)
    assert all(math.isnan(value) for value in found.values())


def test_a_linear_layer_over_sequences_has_its_channels_last() -> None:
    held_out, model = examples((20, 7, 5)), nn.Sequential(nn.Linear(5, 3), nn.Flatten())
    for options, channels in (({}, 5), ({"channel_axis": 1}, 7)):
        probe = ActivationMoments(per_channel=True, **options)
        found = at_start(model, probe, held_out=held_out)
        keys = [key for metric, _, key in found if metric == "activation mean"]
        assert keys == ["mean", "spread", *map(str, range(channels))]


def test_both_sides_of_a_layer_at_once_are_refused() -> None:
    probe = ActivationMoments(layers=["input of 0", "output of 0"])
    with pytest.raises(ProbeError, match="names input and output of 0"):
        probe.prepare(nn.Sequential(nn.Linear(5, 3)))
