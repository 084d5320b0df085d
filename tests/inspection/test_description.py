"""`bnkit.describe`: what it counts, held against sums over torch's own modules."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bnkit
from bnkit.errors import CheckError, ForwardError
from helpers.healthy_architectures import HEALTHY, ResNet50
from helpers.rule_case import conv_net, images


class Mixed(nn.Module):
    """A shared layer, one that does not run, other kinds, a layer of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.BatchNorm1d(4)
        self.again = self.shared
        self.idle = nn.BatchNorm1d(4, affine=False)
        self.group, self.layer = nn.GroupNorm(2, 4), nn.LayerNorm(6)
        self.instance = nn.InstanceNorm1d(4, track_running_stats=True)
        self.own = Own()
        self.bare = nn.BatchNorm1d(4, track_running_stats=False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.again(self.shared(x)[..., :3])
        y = self.layer(F.pad(self.group(x), (0, 3)))
        return {"y": self.bare(self.own(self.instance(y)))}


class Own(nn.Module):
    """Somebody's frozen batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(4))
        self.register_buffer("running_var", torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var)


def layers(model: nn.Module, example: Any = None) -> dict[str, Any]:
    return {layer.path: layer for layer in bnkit.describe(model, example).layers}


def test_resnet_50_has_53_layers_and_26560_channels() -> None:
    with torch.device("meta"):
        model = ResNet50()
    described = bnkit.describe(model)
    totals = described.totals
    assert (totals["layers"], totals["channels"]) == (53, 26560)
    assert totals["parameters"] == 4 * 26560 + 2 * 53
    assert totals["learnable"] == 2 * 26560
    assert described.model_parameters == 25_557_032
    assert totals["share"] == pytest.approx(2 * 26560 / 25_557_032)


def test_m_and_bytes_are_those_of_the_example() -> None:
    found = layers(conv_net(), images(4))
    assert found["1"].values_per_channel == ("N×36",)
    assert found["4"].values_per_channel == ("N×16",)
    assert found["1"].activation_bytes == 4 * 4 * 36 * 4
    assert layers(conv_net().double(), images(4).double())["1"].activation_bytes == 8 * 576
    text = bnkit.describe(conv_net(), images(4)).to_text()
    assert "N×36" in text
    assert "N = 4" in text


def test_modes() -> None:
    model = conv_net()
    model[1].eval()
    model[4].weight.requires_grad_(False)
    found = layers(model)
    assert (found["1"].mode, found["1"].normalizes_by) == ("eval", "running statistics")
    assert (found["4"].mode, found["4"].normalizes_by) == ("training", "batch")
    assert (found["1"].learnable, found["4"].learnable) == (8, 5)


def test_kinds_and_what_they_lack() -> None:
    found = layers(Mixed().eval(), torch.randn(2, 4, 6))
    assert {path: layer.parameters for path, layer in found.items()} == {
        "shared": 4 * 4 + 2,
        "idle": 2 * 4 + 2,
        "group": 2 * 4 + 1,
        "layer": 2 * 6 + 1,
        "instance": 2 * 4 + 2,
        "own": 2 * 4 + 1,
        "bare": 2 * 4 + 2,
    }
    assert found["shared"].calls == 2
    assert found["shared"].values_per_channel == ("N×6", "N×3")
    assert (found["idle"].calls, found["idle"].values_per_channel) == (0, ())
    assert (found["own"].calls, found["own"].activation_bytes) == (None, None)
    assert {path: layer.normalizes_by for path, layer in found.items()} == {
        "shared": "running statistics",
        "idle": "running statistics",
        "group": "sample",
        "layer": "sample",
        "instance": "running statistics",
        "own": "running statistics",
        "bare": "batch",
    }


@pytest.mark.parametrize("name", HEALTHY)
def test_totals_are_those_of_torchs_modules(name: str) -> None:
    torch.manual_seed(0)
    model = HEALTHY[name].build()
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    described = bnkit.describe(model, HEALTHY[name].example())
    batch = [layer for layer in described.layers if "BatchNorm" in layer.kind]
    assert sum(layer.channels or 0 for layer in batch) == sum(m.num_features for m in norms)
    assert sum(layer.parameters for layer in batch) == sum(4 * m.num_features + 2 for m in norms)
    assert described.model_parameters == sum(p.numel() for p in model.parameters())
    assert json.loads(described.to_json())["totals"]["layers"] == len(described.layers)


def test_a_model_without_normalization_says_so() -> None:
    assert "no normalization layer" in str(bnkit.describe(nn.Linear(3, 2)))


def test_what_cannot_be_described_is_one_message() -> None:
    with pytest.raises(CheckError, match="model is a int"):
        bnkit.describe(3)  # type: ignore[arg-type]
    with pytest.raises(ForwardError, match=r"^0: forward raised RuntimeError"):
        bnkit.describe(conv_net(), torch.randn(1, 9, 8, 8))
