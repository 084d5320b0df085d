from __future__ import annotations

from typing import Any

import torch
from torch import nn

from helpers.rule_case import RuleCase, conv_net, images, look_trained


def network(target: Any = torch.float16, **values: tuple[int, float]) -> dict[str, Any]:
    """The batch norm "4" of `conv_net`, with values in some channels."""
    model = look_trained(conv_net())
    with torch.no_grad():
        for name, (channel, value) in values.items():
            getattr(model[4], name)[channel] = value
    return {"model": model, "target_dtype": target}


def with_conv_weight(value: float, *, traced: bool = False) -> dict[str, Any]:
    given = network(weight=(2, 3.0), running_var=(2, 1e-6))
    nn.init.constant_(given["model"][3].weight, value)
    return given | ({"example_args": images()} if traced else {})


def transposed() -> dict[str, Any]:
    """Groups put the channels of a transposed conv's weight on two axes."""
    conv, norm = nn.ConvTranspose2d(4, 6, 1, groups=2, bias=False), nn.BatchNorm2d(6)
    model = look_trained(nn.Sequential(conv, norm))
    with torch.no_grad():
        conv.weight.fill_(0.1)
        conv.weight[2:, 1] = 70000.0  # of the second group's second channel: 3 + 1
        norm.weight.fill_(1.0)
    return {"model": model, "target_dtype": torch.float16}


CASES = [
    RuleCase(
        "a large variance",
        lambda: network(running_var=(1, 9e4)),
        ("4",),
        message="a running_var up to",
    ),
    RuleCase("by name", lambda: network("float16", running_var=(1, 9e4)), layers=("4",)),
    RuleCase(
        "folded weights",
        lambda: with_conv_weight(100.0),
        layers=("4",),
        message="folded weights up to 9.05e+04 in channel 2",
    ),
    RuleCase("folded weights, traced", lambda: with_conv_weight(100.0, traced=True), ("4",)),
    RuleCase(
        "a folded bias",
        lambda: network(running_mean=(0, -1e6)),
        layers=("4",),
        message="a folded bias up to",
    ),
    RuleCase("a grouped transposed conv", transposed, layers=("1",), message="in channel 4"),
    RuleCase("a variance within range", lambda: network(running_var=(1, 6e4))),
    RuleCase("weights within range", lambda: with_conv_weight(1.0)),
    RuleCase("bfloat16 has the range", lambda: network(torch.bfloat16, running_var=(1, 9e4))),
]
