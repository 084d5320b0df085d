from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from helpers.rule_case import RuleCase, conv_net, images


class Shared(nn.Module):
    """One conv before two batch norms."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norms = nn.Conv2d(3, 4, 1), nn.ModuleList(map(nn.BatchNorm2d, (4, 4)))

    def forward(self, x: Tensor) -> Tensor:
        return self.norms[0](self.conv(x)) + self.norms[1](self.conv(x))


class Nested(nn.Module):
    """Inputs by name; one pair in a list, one whose conv is transposed and grouped."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs = nn.ModuleList([nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)])
        self.up = nn.ConvTranspose2d(4, 4, 2, 2, groups=2)
        self.norm = nn.BatchNorm2d(4, affine=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.relu(self.pairs[1](self.pairs[0](image)))
        return torch.relu(self.norm(self.up(x))), x


def on(model: nn.Module, example: Any = None) -> dict[str, Any]:
    return {"model": model, "example_args": images() if example is None else example}


def before(conv: nn.Module) -> dict[str, Any]:
    return on(nn.Sequential(nn.BatchNorm2d(3), conv))


CASES = [
    RuleCase(
        "two convs",
        lambda: on(conv_net()),
        layers=("1", "4"),
        message="memory traffic",
    ),
    RuleCase(
        "what is saved: 2 · 4 · 4 · 6 · 6 operations, 8 bytes for each value",
        lambda: on(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())),
        layers=("1",),
        message="folds into 0: that saves 1.15 k operations and 4.5 KiB",
    ),
    RuleCase("nested", lambda: on(Nested(), {"image": images()}), layers=("pairs.1", "norm")),
    RuleCase(
        "linear on vectors",
        lambda: on(nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5)), torch.randn(4, 6)),
        layers=("1",),
    ),
    RuleCase("before a conv without padding", lambda: before(nn.Conv2d(3, 4, 3)), layers=("0",)),
    RuleCase(
        "before a conv that pads by reflection",
        lambda: before(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")),
        layers=("0",),
    ),
    RuleCase("before a conv that pads", lambda: before(nn.Conv2d(3, 4, 3, padding=1))),
    RuleCase("a shared conv", lambda: on(Shared())),
    RuleCase(
        "an activation between",
        lambda: on(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4))),
    ),
    RuleCase("no running statistics", lambda: on(conv_net(track_running_stats=False))),
]
