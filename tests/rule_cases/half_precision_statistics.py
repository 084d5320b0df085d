from __future__ import annotations

from typing import Any

import torch
from torch import nn

from helpers.rule_case import RuleCase, conv_net, look_trained


def converted(
    dtype: torch.dtype, *, training: bool = True, only: str = "", **given: Any
) -> dict[str, Any]:
    model = look_trained(conv_net()).train(training)
    if only:
        model[4]._buffers[only] = model[4]._buffers[only].to(dtype)
    else:
        model.to(dtype)
    return {"model": model, **given}


def trained_further() -> dict[str, Any]:
    given = converted(torch.bfloat16, training=False)
    return given | {"optimizer": torch.optim.SGD(given["model"].parameters(), lr=0.1)}


def norms_in_float32() -> dict[str, Any]:
    model = look_trained(conv_net()).half()
    for module in model:
        if isinstance(module, nn.BatchNorm2d):
            module.float()
    return {"model": model}


def frozen() -> dict[str, Any]:
    model = look_trained(conv_net()).bfloat16()
    model[1].eval()
    model[4].eval()
    return {"model": model}


CASES = [
    RuleCase(
        "bfloat16 in training",
        lambda: converted(torch.bfloat16),
        layers=("1", "4"),
        message="running_mean and running_var are bfloat16",
    ),
    RuleCase(
        "float16 in training",
        lambda: converted(torch.float16),
        layers=("1", "4"),
        message="above 65504",
    ),
    RuleCase(
        "one buffer of one layer",
        lambda: converted(torch.float16, only="running_var"),
        layers=("4",),
        message="running_var is float16",
    ),
    RuleCase("an optimizer is given", trained_further, layers=("1", "4")),
    RuleCase(
        "evaluated alone",
        lambda: converted(torch.float16, training=False),
        layers=("1", "4"),
        severity="W",
    ),
    RuleCase("frozen in a model that trains", frozen, layers=("1", "4"), severity="W"),
    RuleCase("the norms left in float32", norms_in_float32),
    RuleCase("float64", lambda: converted(torch.float64)),
]
