from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from helpers.rule_case import RuleCase, conv_net, images


class Functional(nn.Module):
    """A batch norm before F.conv2d, inside of a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.ModuleDict({"norm": nn.BatchNorm2d(3)})
        self.weight = nn.Parameter(torch.ones(4, 3, 1, 1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"y": F.relu(F.conv2d(self.inner["norm"](x), self.weight))}


class Bottleneck(nn.Module):
    """The output of the norm also goes past the conv."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return x + self.conv(x)


class SharedConv(nn.Module):
    """The conv runs on another input too, which must not be scaled."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.norm(x)) + self.conv(x)


def on(model: nn.Module, example: Any = None) -> dict[str, Any]:
    return {"model": model, "example_args": images() if example is None else example}


def before_conv(*between: nn.Module, **options: Any) -> dict[str, Any]:
    return on(nn.Sequential(nn.BatchNorm2d(3, **options), *between, nn.Conv2d(3, 4, 3, padding=1)))


def in_a_row(first: nn.Module, second: nn.Module, *shape: int) -> dict[str, Any]:
    return on(nn.Sequential(first, second, nn.ReLU()), torch.randn(*shape))


CASES = [
    RuleCase("directly before a conv", before_conv, layers=("0",), message="no nonlinearity"),
    RuleCase("dropout between", lambda: before_conv(nn.Dropout(0.1)), layers=("0",)),
    RuleCase(
        "a linear layer on vectors",
        lambda: on(nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 2)), torch.randn(4, 6)),
        layers=("0",),
    ),
    RuleCase("before F.conv2d", lambda: on(Functional()), layers=("inner.norm",)),
    RuleCase(
        "two batch norms in a row",
        lambda: in_a_row(nn.BatchNorm2d(3), nn.BatchNorm2d(3), 4, 3, 5, 5),
        layers=("0",),
        message="two norms in a row: 1 normalizes its output again",
    ),
    RuleCase(
        "a group norm before",
        lambda: in_a_row(nn.GroupNorm(1, 3), nn.BatchNorm2d(3), 4, 3, 5, 5),
        layers=("0",),
    ),
    RuleCase(
        "a layer norm after",
        lambda: in_a_row(nn.BatchNorm1d(6), nn.LayerNorm(6), 4, 6),
        layers=("0",),
        message="two norms",
    ),
    RuleCase("a ReLU between", lambda: before_conv(nn.ReLU())),
    RuleCase("no γ", lambda: before_conv(affine=False)),
    RuleCase("conv, norm, ReLU, conv, norm", lambda: on(nn.Sequential(conv_net(), nn.ReLU()))),
    RuleCase("a residual takes it too", lambda: on(Bottleneck())),
    RuleCase("a shared conv", lambda: on(SharedConv())),
    RuleCase(
        "a linear layer on another axis",
        lambda: on(nn.Sequential(nn.BatchNorm1d(6), nn.Linear(5, 2)), torch.randn(4, 6, 5)),
    ),
    RuleCase(
        "two layer norms, which are not batch norm's business",
        lambda: in_a_row(nn.LayerNorm(6), nn.LayerNorm(6), 4, 6),
    ),
    RuleCase("the model's output", lambda: on(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)))),
]
