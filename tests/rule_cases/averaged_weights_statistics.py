from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, update_bn
from torch.utils.data import DataLoader, TensorDataset

from helpers.rule_case import RuleCase, conv_net, images, look_trained


def averaged(
    updates: int = 3, model: nn.Module | None = None, batches: int = 1, **options: Any
) -> dict[str, Any]:
    """Average a model after every few batches of training."""
    model = conv_net() if model is None else model
    average = AveragedModel(model, **options)
    for _ in range(updates):
        with torch.no_grad():
            for _ in range(batches):
                model(images())
        average.update_parameters(model)
    return {"model": average}


def frozen() -> nn.Module:
    return look_trained(conv_net()).requires_grad_(False).eval()


def recalibrated(updates: int, *, with_loader: bool) -> dict[str, Any]:
    given = averaged(updates, batches=5)
    loader = DataLoader(TensorDataset(images(8)), batch_size=4)
    update_bn(loader, given["model"])
    return {**given, "loader": loader} if with_loader else given


LAYERS = ("module.1", "module.4")
CASES = [
    RuleCase("three models", averaged, layers=LAYERS, message="an average of 3 models"),
    RuleCase(
        "a moving average",
        lambda: averaged(multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)),
        layers=LAYERS,
    ),
    RuleCase(
        "more batches than an epoch has",
        lambda: {
            **averaged(batches=5),
            "loader": DataLoader(TensorDataset(images(8)), batch_size=4),
        },
        layers=LAYERS,
    ),
    RuleCase("buffers are averaged too", lambda: averaged(use_buffers=True)),
    RuleCase("the average of one", lambda: averaged(1)),
    RuleCase("nothing averaged yet", lambda: averaged(0)),
    RuleCase("recalibrated", lambda: recalibrated(3, with_loader=False)),
    RuleCase("recalibrated, by the loader", lambda: recalibrated(2, with_loader=True)),
    RuleCase("frozen", lambda: averaged(model=frozen())),
]
