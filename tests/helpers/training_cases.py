"""Small data, networks and settings that the tests of training share."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from bnkit.lab.training import Split, TrainingSettings, train
from bnkit.lab.training.loop import TrainingRun


def splits(examples: int = 50, dtype: torch.dtype = torch.float32) -> tuple[Split, Split]:
    """Return a task that a line separates: 4 features, 2 classes."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(examples + 20, 4, generator=generator)
    y = (x.sum(1) > 0).long()
    x = x.to(dtype)
    return Split(x[:examples], y[:examples]), Split(x[examples:], y[examples:])


def plain_network() -> nn.Sequential:
    """Return a network without batch norm and dropout."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))


def network() -> nn.Sequential:
    """Return a network with batch norm and dropout."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, 2)
    )


def settings(**changes: object) -> TrainingSettings:
    """Return settings of three epochs of SGD, with changes."""
    return TrainingSettings.model_validate(
        {"epochs": 3, "optimizer": {"name": "sgd", "lr": 0.1}, **changes}
    )


def run(model: nn.Module, given: TrainingSettings, **changes: object) -> TrainingRun:
    """Train on `splits()` in batches of 16 under seed 3."""
    dtype = torch.float64 if given.precision == "float64" else torch.float32
    train_split, test_split = splits(dtype=dtype)
    arguments = {"batch_size": 16, "drop_last": False, "seed": 3, "loss_function": F.cross_entropy}
    return train(model, train_split, test_split, given, **{**arguments, **changes})
