from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

import bnkit
from helpers.rule_case import RuleCase, conv_net


class BatchNormReLU(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(super().forward(x))


class WithModules(nn.BatchNorm2d):
    """As timm's: the activation is a module inside."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(super().forward(x))


class AnyRank(nn.modules.batchnorm._BatchNorm):
    """Behaves as its parent."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass


class Positive(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight.abs()


def with_layer(layer: nn.Module, **given: Any) -> dict[str, Any]:
    return {"model": nn.Sequential(nn.Conv2d(3, 4, 1), layer), **given}


def parametrized() -> dict[str, Any]:
    layer = nn.BatchNorm2d(4)
    parametrize.register_parametrization(layer, "weight", Positive())
    return with_layer(layer)


CASES = [
    RuleCase("a fused ReLU", lambda: with_layer(BatchNormReLU(4)), ("1",), message="its forward"),
    RuleCase("modules inside", lambda: with_layer(WithModules(4)), ("1",), message="modules act"),
    RuleCase("bnkit's fused layer", lambda: with_layer(bnkit.BatchNormAct2d(4)), ("1",)),
    RuleCase("a parametrization", parametrized, ("1",), message="parametrization of weight"),
    RuleCase(
        "a conversion is asked for",
        lambda: with_layer(BatchNormReLU(4), conversion="sync"),
        layers=("1",),
        severity="E",
        message="a conversion to sync is asked for",
    ),
    RuleCase("torch's own", lambda: {"model": conv_net(), "conversion": "sync"}),
    RuleCase("bnkit's plain layer", lambda: with_layer(bnkit.BatchNorm2d(4), conversion="sync")),
    RuleCase("a subclass without behaviour", lambda: with_layer(AnyRank(4), conversion="sync")),
]
