from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from helpers.architectures import VGG, ResNet
from helpers.rule_case import RuleCase, conv_net


def trained(model: nn.Module, *left_out: str, kind: Any = torch.optim.SGD) -> dict[str, Any]:
    named = dict(model.named_parameters())
    held = [value for name, value in named.items() if not name.startswith(left_out or ("-",))]
    return {"model": model, "optimizer": kind(held, lr=0.1)}


def norms_left_out(*, freeze: bool = False) -> dict[str, Any]:
    """No weight decay for whatever has one axis, and then no group for it."""
    model = VGG()
    held = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    if freeze:
        for parameter in model.parameters():
            parameter.requires_grad_(parameter.dim() > 1)
    return {"model": model, "optimizer": torch.optim.AdamW(held)}


def converted() -> dict[str, Any]:
    model = conv_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model[4] = nn.BatchNorm2d(5)
    return {"model": model, "optimizer": optimizer}


def copied() -> dict[str, Any]:
    model = conv_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return {"model": copy.deepcopy(model), "optimizer": optimizer}


def synchronised() -> dict[str, Any]:
    """torch's converter keeps the parameters."""
    model = conv_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return {"model": nn.SyncBatchNorm.convert_sync_batchnorm(model), "optimizer": optimizer}


def averaged() -> dict[str, Any]:
    model = conv_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return {"model": torch.optim.swa_utils.AveragedModel(model), "optimizer": optimizer}


def fine_tuned(kind: Any, *parts: str) -> dict[str, Any]:
    model = kind()
    held = [p for name, p in model.named_parameters() if name.startswith(parts)]
    return {"model": model, "optimizer": torch.optim.SGD(held, lr=0.1)}


def with_other_parameters() -> dict[str, Any]:
    model = conv_net()
    held = [*model.parameters(), nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))]
    return {"model": model, "optimizer": torch.optim.SGD(held, lr=0.1)}


CASES = [
    RuleCase(
        "one layer", lambda: trained(conv_net(), "1."), layers=("1",), message="weight and bi"
    ),
    RuleCase("β alone", lambda: trained(conv_net(), "4.bias"), layers=("4",), message="bias is to"),
    RuleCase(
        "deep in a network",
        lambda: trained(ResNet(), "layer2.0.bn2"),
        layers=("layer2.0.bn2",),
    ),
    RuleCase(
        "all that has one axis",
        norms_left_out,
        layers=("features.1", "features.4", "features.7"),
        message="of the AdamW",
    ),
    RuleCase("replaced", converted, layers=("4",), message="before the model was converted"),
    RuleCase("a copy is trained", copied, layers=("1", "4"), message="6 tensors"),
    RuleCase("frozen and left out", lambda: norms_left_out(freeze=True)),
    RuleCase("all are there", lambda: trained(ResNet())),
    RuleCase("the head alone is trained", lambda: fine_tuned(ResNet, "fc")),
    RuleCase("the last block and the head", lambda: fine_tuned(ResNet, "layer2.1", "fc")),
    RuleCase("one of a pair", lambda: trained(nn.ModuleList([conv_net(), conv_net()]), "1.")),
    RuleCase("converted by torch", synchronised),
    RuleCase("averaged weights", averaged),
    RuleCase("tensors of a loss too", with_other_parameters),
]
