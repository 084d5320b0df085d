from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from helpers.rule_case import RuleCase, images


class Functional(nn.Module):
    """F.dropout, and F.batch_norm on buffers of its own."""

    def __init__(self, p: float = 0.3, *, tracks: bool = True) -> None:
        super().__init__()
        self.p, self.tracks = p, tracks
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("var", torch.ones(4))
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(F.dropout(x, self.p, self.training))
        if self.tracks:
            return F.relu(F.batch_norm(x, self.mean, self.var, training=self.training))
        return F.relu(F.batch_norm(x, None, None, training=True))


class WideBlock(nn.Module):
    """As wide ResNets have it; inputs by name, several outputs, nested modules."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 3, 1))
        self.drop = nn.Dropout2d(p)
        self.second = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU())
        self.last = nn.BatchNorm2d(3)

    def forward(self, image: Tensor, scale: Tensor) -> dict[str, Tensor]:
        x = self.first(image) * scale
        y = self.second(self.drop(x))
        return {"deep": F.relu(self.last(y)), "shallow": x}


class DropPath(nn.Module):
    """Stochastic depth as it is often written: a mask per sample, drawn by a dropout."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.mask = nn.Dropout(p)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.mask(torch.ones(len(x), 1, 1, 1))


class SampleDropout(nn.Module):
    """Stochastic depth by moving the samples onto the channel axis."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout3d(x.unsqueeze(0), 0.2, self.training).squeeze(0)


class Residual(nn.Module):
    def __init__(self, depth: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), depth)
        self.head = nn.Sequential(nn.ReLU(), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x + self.branch(x))


def on(*layers: nn.Module, example: Any = None) -> dict[str, Any]:
    model = layers[0] if len(layers) == 1 else nn.Sequential(*layers)
    return {"model": model, "example_args": images() if example is None else example}


def mlp(*between: nn.Module) -> dict[str, Any]:
    layers = (nn.Linear(6, 6), nn.Dropout(0.5), *between, nn.Linear(6, 6), nn.BatchNorm1d(6))
    return on(*layers, nn.ReLU(), example=torch.randn(4, 6))


def frozen() -> dict[str, Any]:
    given = mlp()
    given["model"].train()[3].eval()
    return given


def wide(p: float) -> dict[str, Any]:
    example = {"image": images(), "scale": torch.ones(1)}
    return {"model": WideBlock(p), "example_args": example}


CASES = [
    RuleCase("directly before", lambda: on(nn.Dropout(0.1), nn.BatchNorm2d(3)), layers=("1",)),
    RuleCase("a linear layer between", mlp, layers=("3",), message="1 (p = 0.5)"),
    RuleCase(
        "in eval mode too",
        lambda: {**(given := mlp()), "model": given["model"].eval()},
        layers=("3",),
    ),
    RuleCase("a wide ResNet's block", lambda: wide(0.3), layers=("second.1",), message="drop"),
    RuleCase("functions", lambda: on(Functional()), layers=("",), message="dropout in the model"),
    RuleCase("alpha dropout", lambda: on(nn.AlphaDropout(), nn.BatchNorm2d(3)), layers=("1",)),
    RuleCase("p = 0", lambda: wide(0.0)),
    RuleCase("p = 0 of a function", lambda: on(Functional(0.0))),
    RuleCase("a layer norm between", lambda: mlp(nn.LayerNorm(6))),
    RuleCase("another batch norm between", lambda: on(nn.BatchNorm2d(3), nn.Dropout(), nn.ReLU())),
    RuleCase("statistics of the batch in eval mode too", lambda: on(Functional(tracks=False))),
    RuleCase("frozen", frozen),
    RuleCase("stochastic depth, a mask per sample", lambda: on(Residual(DropPath(0.2)))),
    RuleCase("stochastic depth, whole samples", lambda: on(Residual(SampleDropout()))),
]
