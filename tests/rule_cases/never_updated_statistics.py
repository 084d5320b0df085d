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
    RuleCase("statistics from before the counter", old_checkpoint),
    RuleCase("no statistics at all", lambda: {"model": conv_net(track_running_stats=False)}),
]
