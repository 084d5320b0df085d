from __future__ import annotations

from typing import Any

import torch
from torch import nn

from helpers.rule_case import RuleCase, conv_net, look_trained


def one_left_behind() -> dict[str, Any]:
    model = look_trained(conv_net())
    model[1].reset_running_stats()
    return {"model": model}


def parameters_trained() -> dict[str, Any]:
    model = look_trained(conv_net())
    for place in (1, 4):
        model[place].reset_running_stats()
    return {"model": model}


def drawn_around_one() -> dict[str, Any]:
    """As DCGAN initializes."""
    model = conv_net()
    for place in (1, 4):
        nn.init.normal_(model[place].weight, 1.0, 0.02, torch.Generator().manual_seed(0))
    return {"model": model}


def drawn_with(spreads: tuple[float, ...]) -> dict[str, Any]:
    """A stack whose layers draw γ and β with these spreads."""
    generator = torch.Generator().manual_seed(0)
    layers: list[nn.Module] = []
    for spread in spreads:
        layers += [nn.Conv2d(3 if not layers else 32, 32, 3), nn.BatchNorm2d(32)]
        nn.init.normal_(layers[-1].weight, 0.1, spread, generator)
        nn.init.normal_(layers[-1].bias, 0.0, spread, generator)
    return {"model": nn.Sequential(*layers)}


def old_checkpoint() -> dict[str, Any]:
    model = look_trained(conv_net())
    for place in (1, 4):
        model[place].num_batches_tracked.zero_()
    return {"model": model}


def zero_initialized() -> dict[str, Any]:
    model = conv_net().eval()
    nn.init.zeros_(model[4].weight)
    return {"model": model}


CASES = [
    RuleCase("one of two has moved", one_left_behind, layers=("1",), message="have moved"),
    RuleCase("γ and β trained", parameters_trained, layers=("1", "4"), message="were trained"),
    RuleCase(
        "weights loaded",
        lambda: {"model": conv_net(), "weights_loaded": True},
        layers=("1", "4"),
        message="weights were loaded",
    ),
    RuleCase("fresh in eval mode", lambda: {"model": conv_net().eval()}),
    RuleCase("zero-initialized γ", zero_initialized),
    RuleCase("γ drawn around 1", drawn_around_one),
    RuleCase("γ and β drawn alike in all layers, as RepVGG's", lambda: drawn_with((0.1,) * 4)),
    RuleCase(
        "γ and β of spreads that training leaves",
        lambda: drawn_with((0.05, 0.1, 0.2, 0.4)),
        layers=("1", "3", "5", "7"),
        message="were trained",
    ),
    RuleCase("statistics from before the counter", old_checkpoint),
    RuleCase("no statistics at all", lambda: {"model": conv_net(track_running_stats=False)}),
]
