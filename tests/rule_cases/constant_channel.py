from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from helpers.rule_case import RuleCase, conv_net, recalibrated, values

DATA = values(64, 3, 8, 8)


def dead_filter(*, gamma: float = 1.0, trained: bool = True) -> dict[str, Any]:
    """The second conv's filter 2 is 0 but for its bias."""
    model = conv_net(bias=True)
    with torch.no_grad():
        model[3].weight[2] = 0
    model = recalibrated(model, DATA) if trained else model
    if gamma != 1.0:
        with torch.no_grad():
            model[4].weight[2] = gamma
    return {"model": model, "data": DATA}


def dead_relu(*, after: int) -> dict[str, Any]:
    """Units whose ReLU lets nothing pass, in vectors, dead in all but the last samples."""
    x = values(200, 4)
    x[:, 1] = -1.0 - x[:, 1].abs()
    x[after:, 1] = 1.0
    model = nn.Sequential(nn.ReLU(), nn.BatchNorm1d(4, affine=False))
    return {"model": recalibrated(model, x), "data": [x[:100], x[100:]]}


class Twice(nn.Module):
    """Each call has a constant channel, and not the same constant."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm3d(2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.norm(x), self.norm(x + 1)


def twice() -> dict[str, Any]:
    x = values(16, 2, 2, 3, 3)
    x[:, 1] = 0.3
    return {"model": recalibrated(Twice(), x), "data": x}


def masked(rows: int) -> dict[str, Any]:
    x = values(rows, 3)
    x[:, 0] = 7.0
    return {"model": recalibrated(nn.Sequential(nn.BatchNorm1d(3)), x), "data": x}


CASES = [
    RuleCase("a dead filter", dead_filter, layers=("4",), message="channel 2 of 5 is constant"),
    RuleCase("a dead ReLU", lambda: dead_relu(after=200), layers=("1",), message="(0 in channel"),
    RuleCase("a constant column", lambda: masked(50), layers=("0",), message="7 in channel 0"),
    RuleCase("momentum None", lambda: _cumulative(), layers=("4",)),
    RuleCase("constant in the first batch alone", lambda: dead_relu(after=150)),
    RuleCase("γ is dead too", lambda: dead_filter(gamma=0.0)),
    RuleCase("never trained", lambda: dead_filter(trained=False)),
    RuleCase("8 values may be alike by chance", lambda: masked(8)),
    RuleCase("another constant in each call", twice),
    RuleCase("a channel of hardly any spread", lambda: _hardly_any_spread()),
]


def _cumulative() -> dict[str, Any]:
    given = dead_filter()
    given["model"][4].momentum = None
    return given


def _hardly_any_spread() -> dict[str, Any]:
    x = values(64, 3)
    x[:, 0] = 1.0 + 1e-4 * x[:, 0]
    return {"model": recalibrated(nn.Sequential(nn.BatchNorm1d(3)), x), "data": x}
