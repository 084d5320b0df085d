from __future__ import annotations

from typing import Any

import torch
from torch import nn

from helpers.rule_case import RuleCase, conv_net, look_trained


def with_weight(values: dict[int, float], shift: float = 0.0, **options: Any) -> dict[str, Any]:
    model = look_trained(conv_net(**options))
    with torch.no_grad():
        for channel, value in values.items():
            model[4].weight[channel] = value
            model[4].bias[channel] = shift
    return {"model": model}


def zeros() -> dict[str, Any]:
    model = look_trained(conv_net())
    nn.init.zeros_(model[4].weight)
    return {"model": model}


CASES = [
    RuleCase("one of five", lambda: with_weight({2: 1e-6}), ("4",), message="in channel 2: 1 of 5"),
    RuleCase("a β to absorb", lambda: with_weight({2: -1e-7}, 0.7), ("4",), message="up to 0.7"),
    RuleCase("no β there", lambda: with_weight({1: 0.0}), ("4",), message="β is 0"),
    RuleCase(
        "most of them, so that the median is 0",
        lambda: with_weight({1: 0.0, 2: 0.0, 3: 0.0}),
        layers=("4",),
        message="channels 1, 2, 3",
    ),
    RuleCase("0 throughout, a residual branch's", zeros),
    RuleCase("small throughout", lambda: with_weight(dict.fromkeys(range(5), 1e-9))),
    RuleCase("small and above the limit", lambda: with_weight({2: 0.01})),
    RuleCase("no γ", lambda: {"model": conv_net(affine=False)}),
]
