"""What holds of every network of the lab: sized from the data, seeded, trainable in both arms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import bnkit
from bnkit.lab.networks import NETWORKS, build_network, named_builder
from source_tree import ROOT

# name, shape of the data, classes, args, trained parameters counted by hand or published.
CASES: list[tuple[str, tuple[int, ...], int, dict[str, Any], int]] = [
    ("three-conv", (1, 32, 32), 10, {}, 160 + 2 * 2320 + 3 * 32 + 40970),
    ("dense", (1, 8, 8), 10, {"hidden": [16]}, 64 * 16 + 16 + 32 + 170),
    ("sigmoid", (1, 28, 28), 10, {}, 78500 + 2 * 10100 + 3 * 200 + 1010),
    ("keras-dense", (1, 5), 2, {}, 96 + 32 + 544 + 64 + 66),
    ("keras-conv", (3, 28, 28), 2, {}, 896 + 64 + 9248 + 64 + 66),
    ("keras-conv", (3, 28, 28), 2, {"flatten": True}, 896 + 64 + 9248 + 64 + 4608 * 2 + 2),
    ("vgg", (3, 32, 32), 10, {"depth": 11, "width": 8}, 145_754 + 2 * 8 * 9),
    ("vgg", (1, 8, 8), 10, {"depth": 11, "width": 8}, 145_754),
    ("resnet", (3, 32, 32), 10, {}, 269_722),
    ("lstm-rows", (3, 10, 6), 4, {"hidden": 5}, 4 * 5 * (18 + 5 + 2) + 10 + 24),
]
IDS = [f"{name}-{'x'.join(map(str, shape))}-{args}" for name, shape, _, args, _ in CASES]


def built(name: str, shape: tuple[int, ...], classes: int, args: dict[str, Any]) -> nn.Module:
    torch.manual_seed(3)
    return build_network(named_builder(name), name, shape, classes, args)


@pytest.mark.parametrize(("name", "shape", "classes", "args", "parameters"), CASES, ids=IDS)
def test_it_has_its_parameters_and_trains_with_and_without_batch_norm(
    name: str, shape: tuple[int, ...], classes: int, args: dict[str, Any], parameters: int
) -> None:
    network = built(name, shape, classes, args)
    assert sum(p.numel() for p in network.parameters()) == parameters
    x, y = torch.randn(4, *shape), torch.arange(4) % classes
    without = bnkit.remove(network, x)
    assert without.changes
    assert not without.skipped
    norms = (nn.BatchNorm1d, nn.BatchNorm2d)
    assert any(isinstance(m, norms) for m in network.modules())
    assert not any(isinstance(m, norms) for m in without.model.modules())
    for model in (network, without.model):
        logits = model(x)
        assert logits.shape == (4, classes)
        F.cross_entropy(logits, y).backward()
        assert all(p.grad is not None for p in model.parameters())
        assert model.eval()(x[:1]).shape == (1, classes)


@pytest.mark.parametrize(("name", "shape", "classes", "args", "_"), CASES, ids=IDS)
def test_the_seed_determines_it(
    name: str, shape: tuple[int, ...], classes: int, args: dict[str, Any], _: int
) -> None:
    first, again = (built(name, shape, classes, args).state_dict() for _ in range(2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    torch.manual_seed(4)
    other = build_network(named_builder(name), name, shape, classes, args).state_dict()
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_every_network_is_a_case_and_in_the_guide() -> None:
    assert {case[0] for case in CASES} == NETWORKS.keys()
    guide = (ROOT / "docs" / "guides" / "study-file.md").read_text("utf-8")
    rows = [line.split("|")[1].strip(" `") for line in guide.splitlines() if line.startswith("| `")]
    assert {*NETWORKS} <= {*rows}
