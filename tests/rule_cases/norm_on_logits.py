from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from helpers.rule_case import RuleCase, conv_net, images


class TwoHeads(nn.Module):
    """One head ends in a batch norm, in a tuple inside of a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_net(), nn.ReLU())
        self.heads = nn.ModuleList([nn.Conv2d(5, 2, 1), nn.Conv2d(5, 2, 1)])
        self.norm = nn.BatchNorm2d(2)

    def forward(self, x: Tensor) -> dict[str, Any]:
        x = self.body(x)
        return {"logits": (self.heads[0](x), self.norm(self.heads[1](x)))}


def mlp(*after: nn.Module) -> dict[str, Any]:
    model = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3), *after)
    return {"model": model, "example_args": torch.randn(4, 6)}


def on(model: nn.Module) -> dict[str, Any]:
    return {"model": model, "example_args": images()}


CASES = [
    RuleCase("returned", mlp, layers=("1",)),
    RuleCase("through a softmax", lambda: mlp(nn.Softmax(1)), layers=("1",)),
    RuleCase("through an identity", lambda: mlp(nn.Identity(), nn.Flatten()), layers=("1",)),
    RuleCase("one of several outputs", lambda: on(TwoHeads()), layers=("norm",)),
    RuleCase("a linear layer after", lambda: mlp(nn.Linear(3, 3))),
    RuleCase("a ReLU after", lambda: mlp(nn.ReLU())),
]
