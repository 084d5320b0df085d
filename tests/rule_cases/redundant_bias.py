from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from helpers.rule_case import RuleCase, conv_net, images


class Residual(nn.Module):
    """The conv's output goes past the batch norm too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x + self.norm(x)


class TwoNorms(nn.Module):
    """One conv feeds two batch norms."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.first, self.second = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.first(x) * self.second(x)


class Shared(nn.Module):
    """One conv runs twice, and only one of its outputs is normalized."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)) + self.conv(x * 2)


class Returned(nn.Module):
    """The model returns the conv's output too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.conv(x)
        return {"raw": x, "normalized": self.norm(x)}


class TiedBias(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.other = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)
        self.other.bias = self.conv.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.other(self.norm(self.conv(x)))


def on(model: nn.Module, example: Any = None) -> dict[str, Any]:
    return {"model": model, "example_args": images() if example is None else example}


def mlp(*shape: int) -> dict[str, Any]:
    model = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6))
    return on(model, torch.randn(*shape))


CASES = [
    RuleCase("two convs", lambda: on(conv_net(bias=True)), layers=("0", "3")),
    RuleCase("one conv, two norms", lambda: on(TwoNorms()), layers=("conv",), message="first, sec"),
    RuleCase("linear on vectors", lambda: mlp(4, 6), layers=("0",)),
    RuleCase("linear on (N, C, L), whose bias is on another axis", lambda: mlp(4, 6, 6)),
    RuleCase("no bias", lambda: on(conv_net())),
    RuleCase("a residual past the norm", lambda: on(Residual())),
    RuleCase("one of two calls is not normalized", lambda: on(Shared())),
    RuleCase("returned", lambda: on(Returned())),
    RuleCase("a tied bias", lambda: on(TiedBias())),
    RuleCase(
        "an activation between",
        lambda: on(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4))),
    ),
]
