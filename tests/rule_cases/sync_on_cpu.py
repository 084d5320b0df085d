from __future__ import annotations

from typing import Any

from torch import nn

from helpers.process_group import check_in_group
from helpers.rule_case import RuleCase, conv_net


def synchronised(training: bool = True, **options: Any) -> dict[str, Any]:
    model = nn.SyncBatchNorm.convert_sync_batchnorm(conv_net(**options))
    return {"model": model.train(training)}


def kept_frozen() -> dict[str, Any]:
    given = synchronised()
    given["model"][1].eval()
    given["model"][4].eval()
    return given


CASES = [
    RuleCase(
        "in a process group",
        synchronised,
        layers=("1", "4"),
        message="its forward raises in training mode",
        run=check_in_group,
    ),
    RuleCase(
        "without parameters",
        lambda: synchronised(affine=False),
        layers=("1", "4"),
        run=check_in_group,
    ),
    RuleCase(
        "in a process group, in eval mode",
        lambda: synchronised(False),
        layers=("1", "4"),
        severity="I",
        run=check_in_group,
    ),
    RuleCase("in no process group", synchronised, layers=("1", "4"), severity="I"),
    RuleCase("kept frozen", kept_frozen, run=check_in_group),
    RuleCase("plain layers", lambda: {"model": conv_net()}, run=check_in_group),
    RuleCase(
        "not on the CPU", lambda: {"model": nn.Sequential(nn.SyncBatchNorm(3, device="meta"))}
    ),
]
