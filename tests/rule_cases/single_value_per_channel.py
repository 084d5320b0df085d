from __future__ import annotations

from typing import Any

from torch import nn

from helpers.rule_case import RuleCase, images


def pooled(batch_size: int, *, frozen: bool = False) -> dict[str, Any]:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1),
        nn.BatchNorm2d(4),
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(4, 4, 1),
        nn.BatchNorm2d(4),
    )
    if frozen:
        model[4].eval()
    return {"model": model, "example_args": images(4), "batch_size": batch_size}


CASES = [
    RuleCase(
        "pooled to 1×1 with one sample",
        lambda: pooled(1),
        layers=("4",),
        message="a training batch of 1 gives it one value per channel",
    ),
    RuleCase(
        "also where the model is handed over in eval mode",
        lambda: {**(given := pooled(1)), "model": given["model"].eval()},
        layers=("4",),
    ),
    RuleCase("two samples", lambda: pooled(2)),
    RuleCase("one sample, the layer frozen", lambda: pooled(1, frozen=True)),
]
