from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from helpers.rule_case import RuleCase, conv_net, look_trained


class FrozenNorm(nn.Module):
    """As detection libraries write it: no parameter, and no subclass of torch's."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.eps = 1e-5
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0)):
            self.register_buffer(name, torch.full((channels,), value))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x


def with_variance(value: float, gamma: float = 1.0, **options: Any) -> dict[str, Any]:
    model = look_trained(conv_net(**options))
    model[4].running_var[2] = value
    if model[4].weight is not None:
        with torch.no_grad():
            model[4].weight[2] = gamma
    return {"model": model}


def of_somebody(value: float) -> dict[str, Any]:
    model = nn.ModuleDict({"norm": FrozenNorm(3)})
    model["norm"].running_var[1] = value
    return {"model": model}


CASES = [
    RuleCase(
        "negative",
        lambda: with_variance(-0.1),
        layers=("4",),
        message="negative in channel 2, down to -0.1",
    ),
    RuleCase("negative although γ is 0", lambda: with_variance(-1e-9, 0.0), layers=("4",)),
    RuleCase("negative in a norm of somebody's", lambda: of_somebody(-1), layers=("norm",)),
    RuleCase(
        "zero, and γ alive",
        lambda: with_variance(0.0),
        layers=("4",),
        severity="W",
        message="in channel 2 of 5",
    ),
    RuleCase("just below eps/100", lambda: with_variance(0.9e-7), layers=("4",), severity="W"),
    RuleCase("zero without γ", lambda: with_variance(0.0, affine=False), ("4",), "W"),
    RuleCase("zero, γ dead", lambda: with_variance(0.0, 5e-4), ("4",), "I", "dead channels"),
    RuleCase("just above eps/100", lambda: with_variance(1.1e-7)),
    RuleCase("NaN is BN101's", lambda: with_variance(float("nan"))),
    RuleCase("no statistics", lambda: {"model": conv_net(track_running_stats=False)}),
    RuleCase("somebody's healthy norm", lambda: of_somebody(2.0)),
]
