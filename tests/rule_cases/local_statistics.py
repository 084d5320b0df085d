from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from helpers.process_group import check_in_group
from helpers.rule_case import RuleCase, images


def synchronised(model: nn.Module) -> nn.Module:
    """The wrapper refuses such layers on the CPU, so they come after it."""
    return nn.SyncBatchNorm.convert_sync_batchnorm(DistributedDataParallel(model))


def with_pooled_branch(batch_size: int, **more: Any) -> dict[str, Any]:
    """m is 36 per sample at "1", and 1 at "4"."""
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(4, 4, 1),
        nn.BatchNorm2d(4),
    )
    more.setdefault("wrap", DistributedDataParallel)
    return {"model": model, "example_args": images(4), "batch_size": batch_size, **more}


def kept_frozen() -> dict[str, Any]:
    given = with_pooled_branch(4)
    given["model"][4].eval()
    return given


CASES = [
    RuleCase(
        "four values per process",
        lambda: with_pooled_branch(4),
        layers=("module.4",),
        message="it normalizes by 4 values per channel; that is below 16",
        run=check_in_group,
    ),
    RuleCase(
        "vectors",
        lambda: {
            "model": nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6)),
            "example_args": torch.randn(2, 6),
            "batch_size": 2,
            "wrap": DistributedDataParallel,
        },
        layers=("module.1",),
        run=check_in_group,
    ),
    RuleCase("enough values", lambda: with_pooled_branch(16), run=check_in_group),
    RuleCase("synchronised", lambda: with_pooled_branch(4, wrap=synchronised), run=check_in_group),
    RuleCase("kept frozen", kept_frozen, run=check_in_group),
    RuleCase(
        "one process without the wrapper",
        lambda: with_pooled_branch(4, wrap=lambda model: model),
        run=check_in_group,
    ),
]
