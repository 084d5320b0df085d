from __future__ import annotations

from typing import Any

from torch import nn

import bnkit
from helpers.rule_case import RuleCase, conv_net, look_trained


def tracking_off(*places: int, eval_mode: bool = False, **options: Any) -> dict[str, Any]:
    model = look_trained(conv_net(**options)).train()
    for place in places:
        model[place].track_running_stats = False
        model[place].train(not eval_mode)
    return {"model": model}


def own_subclass() -> dict[str, Any]:
    class Normalize(nn.BatchNorm1d):
        def forward(self, x: Any) -> Any:
            return super().forward(x).relu()

    model = nn.ModuleDict({"body": nn.Sequential(nn.Linear(3, 4), Normalize(4))})
    model["body"][1].track_running_stats = False
    return {"model": model}


def of_bnkit() -> dict[str, Any]:
    model = nn.Sequential(nn.Linear(3, 4), bnkit.BatchNorm1d(4))
    model[1].track_running_stats = False
    return {"model": model.eval()}


CASES = [
    RuleCase("one of two", lambda: tracking_off(4), layers=("4",), message="of 100 batches"),
    RuleCase("both", lambda: tracking_off(1, 4), layers=("1", "4")),
    RuleCase("a subclass", own_subclass, layers=("body.1",)),
    RuleCase("bnkit's layer, in an evaluated model", of_bnkit, layers=("1",)),
    RuleCase("never any statistics", lambda: {"model": conv_net(track_running_stats=False)}),
    RuleCase("in eval mode while the model trains", lambda: tracking_off(4, eval_mode=True)),
    RuleCase(
        "instance norm, whose statistics are off by default",
        lambda: {"model": nn.Sequential(nn.Conv2d(3, 4, 1), nn.InstanceNorm2d(4))},
    ),
    RuleCase("plain", lambda: {"model": look_trained(conv_net())}),
]
