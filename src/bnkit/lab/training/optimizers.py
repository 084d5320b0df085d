"""Settings → optimizer; weight decay leaves normalization layers out unless asked."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from bnkit.lab.training.settings import AdamSettings, SgdSettings, TrainingSettings

# Batch and instance norms, lazy and synchronised ones included, derive from _NormBase, and so do
# bnkit's layers.
_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


def make_optimizer(network: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Return the optimizer that the settings name, over the parameters that are trained."""
    groups, optimizer = parameter_groups(network, settings), settings.optimizer
    if isinstance(optimizer, SgdSettings):
        return torch.optim.SGD(
            groups, lr=optimizer.lr, momentum=optimizer.momentum, nesterov=optimizer.nesterov
        )
    if isinstance(optimizer, AdamSettings):
        return torch.optim.Adam(groups, lr=optimizer.lr, betas=optimizer.betas)
    return torch.optim.AdamW(groups, lr=optimizer.lr, betas=optimizer.betas)


def parameter_groups(network: nn.Module, settings: TrainingSettings) -> list[dict[str, Any]]:
    """Return one group of parameters for each weight decay.

    γ and β of normalization layers, which are found by the layer's type, do not decay unless
    `decay_norm`; weights and biases of all other layers do. Parameters that need no gradient are in
    no group.
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    decay = settings.weight_decay
    spared = set() if settings.decay_norm or decay == 0 else norm_parameters(network)
    groups = [
        {"params": [p for p in trained if id(p) not in spared], "weight_decay": decay},
        {"params": [p for p in trained if id(p) in spared], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def norm_parameters(network: nn.Module) -> set[int]:
    """Return the ids of the parameters that belong to normalization layers."""
    norms = (module for module in network.modules() if isinstance(module, _NORMS))
    return {id(parameter) for norm in norms for parameter in norm.parameters()}
