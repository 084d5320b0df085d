"""What a walk reads: layers of every kind, shared and tied ones, modes, values."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import bnkit
from bnkit.inspection.walk import walk


class OwnNorm(nn.BatchNorm2d):
    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(super().forward(x))


class Frozen(nn.Module):
    """A batch norm of buffers alone, as detection models have it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.ones(channels))


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (nn.BatchNorm1d(3), "batch"),
        (bnkit.BatchNorm2d(3), "batch"),
        (bnkit.BatchNormAct2d(3), "batch"),
        (OwnNorm(3), "batch"),
        (nn.SyncBatchNorm(3), "sync"),
        (nn.InstanceNorm2d(3), "instance"),
        (nn.GroupNorm(1, 3), "group"),
        (nn.LayerNorm(3), "layer"),
        (nn.RMSNorm(3), "rms"),
        (Frozen(3), "frozen"),
    ],
)
def test_each_kind_is_found(layer: nn.Module, kind: str) -> None:
    (found,) = walk(nn.Sequential(nn.ReLU(), layer)).norms
    assert (found.path, found.kind) == ("1", kind)
    assert found.is_batch_norm == (kind in ("batch", "sync"))


def test_what_a_layer_holds_is_read() -> None:
    layer = nn.BatchNorm2d(2, eps=1e-3, momentum=None).eval()
    layer.running_mean.copy_(torch.tensor([0.5, 2.0]))
    layer.num_batches_tracked.fill_(7)
    layer.weight.requires_grad_(False)
    layer.register_forward_hook(lambda *_: None)
    (found,) = walk(layer).norms
    assert (found.path, found.channels, found.eps, found.momentum) == ("", 2, 1e-3, None)
    assert (found.training, found.batches_tracked, found.ranks) == (False, 7, (4,))
    assert found.running_mean is not None
    assert found.running_mean.values == (0.5, 2.0)
    assert found.weight is not None
    assert (found.weight.dtype, found.weight.requires_grad) == ("float32", False)
    assert found.hooks == ("forward",)
    assert found.has_moved
    assert not found.updates_statistics


def test_a_forward_of_its_own_and_children_are_told() -> None:
    own, torchs, bnkits = walk(
        nn.Sequential(OwnNorm(2), nn.BatchNorm2d(2), bnkit.BatchNorm2d(2))
    ).norms
    assert [own.has_own_forward, torchs.has_own_forward, bnkits.has_own_forward] == [1, 0, 0]
    assert own.children == ("act",)


def test_a_shared_layer_has_all_of_its_paths() -> None:
    norm = nn.BatchNorm1d(2)
    facts = walk(nn.ModuleDict({"a": norm, "b": nn.Sequential(norm)}))
    (found,) = facts.norms
    assert found.paths == ("a", "b.0")
    assert facts.layer("b.0") is found
    parameter = facts.parameter("b.0.weight")
    assert parameter is not None
    assert parameter.names == ("a.weight", "b.0.weight")


def test_modules_have_families_and_options() -> None:
    conv = parametrizations.weight_norm(nn.Conv2d(3, 4, 3, padding=1, bias=False))
    facts = walk(nn.Sequential(conv, nn.Dropout(0.3), nn.ReLU(), nn.MaxPool2d(2)))
    assert [module.family for module in facts.modules] == [
        "other",
        "conv",
        "other",
        "other",
        "other",
        "dropout",
        "activation",
        "pool",
    ]
    module = facts.module("0")
    assert module is not None
    assert module.options["padding"] == (1, 1)
    assert module.parametrized == ("weight",)
    assert not module.has_bias
    dropout = facts.module("1")
    assert dropout is not None
    assert dropout.options["p"] == 0.3


def test_weights_are_measured_per_output_channel_on_demand() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Linear(3, 2), nn.ConvTranspose2d(4, 6, 2, groups=2)
    )
    with torch.no_grad():
        model[2].weight[3, 1] = -9.0  # of the second of two groups, its second channel of three
    assert all(module.largest_weights == () for module in walk(model).modules)
    conv, linear, transposed = walk(model, measure_weights=True).modules[1:]
    assert conv.largest_weights == tuple(model[0].weight.abs().amax((1, 2, 3)).tolist())
    assert linear.largest_weights == tuple(model[1].weight.abs().amax(1).tolist())
    assert len(transposed.largest_weights) == 6
    assert [c for c, value in enumerate(transposed.largest_weights) if value == 9.0] == [4]


def test_wrappers_are_named() -> None:
    assert walk(nn.DataParallel(nn.BatchNorm1d(2))).wrappers == ("DataParallel",)
    averaged = torch.optim.swa_utils.AveragedModel(nn.BatchNorm1d(2))
    assert walk(averaged).wrappers == ("AveragedModel",)


def test_facts_are_json() -> None:
    facts = walk(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    assert json.loads(json.dumps(asdict(facts)))["norms"][0]["path"] == "1"


def test_a_model_on_the_meta_device_has_no_values() -> None:
    with torch.device("meta"):
        (found,) = walk(nn.BatchNorm1d(2)).norms
    assert found.weight is not None
    assert (found.weight.values, found.weight.device) == ((), "meta")
    assert not found.has_moved
    assert not found.has_trained_parameters
