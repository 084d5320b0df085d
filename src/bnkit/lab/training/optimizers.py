"""Settings → optimizer."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from bnkit.lab.training.settings import AdamSettings, SgdSettings


def make_optimizer(
    parameters: Iterable[nn.Parameter], settings: SgdSettings | AdamSettings
) -> torch.optim.Optimizer:
    """Return the optimizer that the settings name."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if isinstance(settings, AdamSettings):
        return torch.optim.Adam(trained, lr=settings.lr, betas=settings.betas)
    return torch.optim.SGD(
        trained, lr=settings.lr, momentum=settings.momentum, nesterov=settings.nesterov
    )
