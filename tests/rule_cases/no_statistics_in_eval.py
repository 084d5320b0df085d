from __future__ import annotations

from typing import Any

from torch import nn

from helpers.rule_case import RuleCase, conv_net, look_trained


def taken_away() -> dict[str, Any]:
    """As test-time adaptation does, at one layer."""
    model = look_trained(conv_net())
    model[4].track_running_stats = False
    model[4].running_mean = model[4].running_var = None
    return {"model": model}


def nested() -> dict[str, Any]:
    head = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4, track_running_stats=False))
    return {"model": nn.ModuleDict({"backbone": conv_net(), "head": head}).eval()}


CASES = [
    RuleCase("built without", nested, layers=("head.1",), message="track_running_stats=False"),
    RuleCase("taken away", taken_away, layers=("4",), message="no running_mean and no running_var"),
    RuleCase(
        "synchronised",
        lambda: {"model": nn.Sequential(nn.SyncBatchNorm(3, track_running_stats=False))},
        layers=("0",),
    ),
    RuleCase("with statistics", lambda: {"model": conv_net()}),
    RuleCase(
        "norms that have none by design",
        lambda: {"model": nn.Sequential(nn.InstanceNorm2d(3), nn.GroupNorm(1, 3), nn.LayerNorm(3))},
    ),
]
