from __future__ import annotations

from typing import Any

from torch import nn

from helpers.rule_case import RuleCase, conv_net


def accumulating(k: int, **given: Any) -> dict[str, Any]:
    return {"model": conv_net(), "accumulation_steps": k, **given}


def kept_frozen() -> dict[str, Any]:
    given = accumulating(4)
    given["model"][1].eval()
    return given


CASES = [
    RuleCase(
        "four batches", lambda: accumulating(4), layers=("1", "4"), message="move 4 times per opt"
    ),
    RuleCase(
        "with their size",
        lambda: accumulating(4, batch_size=8),
        layers=("1", "4"),
        message="of 8 samples, not the 32 of a step",
    ),
    RuleCase("one of two kept frozen", kept_frozen, layers=("4",)),
    RuleCase("one batch", lambda: accumulating(1)),
    RuleCase("no batch norm", lambda: {**accumulating(4), "model": nn.GroupNorm(1, 3)}),
]
