from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bnkit
from bnkit.lab.training.optimizers import make_optimizer, parameter_groups
from helpers.training_cases import settings

LR, DECAY = 0.1, 0.01


class Single(nn.Module):
    """One weight, whose gradient is what we say."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))


def by_hand(name: str, keys: dict[str, Any], gradients: list[float]) -> float:
    """Return the weight after the updates as the papers write them, in plain Python."""
    w, velocity, m, v = 2.0, 0.0, 0.0, 0.0
    for t, gradient in enumerate(gradients, 1):
        g = gradient if name == "adamw" else gradient + DECAY * w
        if name == "sgd":
            velocity = keys.get("momentum", 0.0) * velocity + g
            moved = g + keys["momentum"] * velocity if keys.get("nesterov") else velocity
            w -= LR * moved
            continue
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w -= LR * DECAY * w if name == "adamw" else 0.0
        w -= LR * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)) ** 0.5 + 1e-8)
    return w


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("sgd", {}),
        ("sgd", {"momentum": 0.9}),
        ("sgd", {"momentum": 0.9, "nesterov": True}),
        ("adam", {}),
        ("adamw", {}),
    ],
)
def test_updates_are_those_written_by_hand(name: str, keys: dict[str, Any]) -> None:
    network, gradients = Single(), [1.0, -0.5, 3.0]
    optimizer = make_optimizer(
        network, settings(optimizer={"name": name, "lr": LR, **keys}, weight_decay=DECAY)
    )
    for gradient in gradients:
        network.weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
    assert network.weight.item() == pytest.approx(by_hand(name, keys, gradients), rel=1e-12)


class UsersNorm(nn.LayerNorm):
    """A user's own layer, which derives from torch's."""


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 4, 1)
        self.norms = nn.ModuleList(
            [
                nn.BatchNorm1d(4),
                nn.SyncBatchNorm(4),
                nn.InstanceNorm1d(4, affine=True),
                nn.GroupNorm(2, 4),
                nn.LayerNorm(4),
                nn.RMSNorm(4),
                nn.LazyBatchNorm1d(),
                bnkit.BatchNorm1d(4),
                bnkit.BatchNormAct1d(4),
                UsersNorm(4),
            ]
        )
        self.frozen = nn.Linear(2, 2).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_gamma_and_beta_of_every_kind_of_norm_stay_out_of_the_decay() -> None:
    network = Mixed()
    decayed, spared = parameter_groups(network, settings(weight_decay=0.1))
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert {id(p) for p in decayed["params"]} == {id(p) for p in network.conv.parameters()}
    assert {id(p) for p in spared["params"]} == {id(p) for p in network.norms.parameters()}


@pytest.mark.parametrize("changes", [{}, {"weight_decay": 0.1, "decay_norm": True}])
def test_else_there_is_one_group_in_the_networks_order(changes: dict[str, Any]) -> None:
    network = Mixed()
    (group,) = parameter_groups(network, settings(**changes))
    assert group["weight_decay"] == changes.get("weight_decay", 0.0)
    trained = [p for p in network.parameters() if p.requires_grad]
    assert [id(p) for p in group["params"]] == [id(p) for p in trained]


def test_a_network_of_norms_alone_has_no_empty_group() -> None:
    (group,) = parameter_groups(nn.BatchNorm1d(3), settings(weight_decay=0.1))
    assert group["weight_decay"] == 0.0
