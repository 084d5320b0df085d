from __future__ import annotations

from typing import Any

import torch
from torch import nn

from helpers.rule_case import RuleCase, conv_net, look_trained


def small_inputs(eps: float, var: float, dead: int = 0) -> dict[str, Any]:
    """At "4" the variances are small, and 0 in the first channels, whose γ is 0."""
    model = look_trained(conv_net(eps=eps))
    with torch.no_grad():
        model[4].running_var.fill_(var)
        model[4].running_var[:dead] = 0
        model[4].weight[:dead] = 0
    return {"model": model}


def several_eps(*eps: float) -> dict[str, Any]:
    return {"model": nn.Sequential(*(nn.BatchNorm2d(3, eps=value) for value in eps))}


CASES = [
    RuleCase(
        "a large eps",
        lambda: small_inputs(0.05, 0.1),
        layers=("4",),
        message="eps is 0.05 and the median of running_var 0.1: what leaves the layer has 67%",
    ),
    RuleCase("small inputs", lambda: small_inputs(1e-5, 1e-6), layers=("4",)),
    RuleCase("a tenth counts", lambda: small_inputs(1e-3, 1e-2), layers=("4",)),
    RuleCase(
        "one layer of another eps",
        lambda: several_eps(1e-5, 1e-3, 1e-5),
        layers=("1",),
        severity="I",
        message="eps is 0.001, and 1e-05 in 2 of 3 batch norms",
    ),
    RuleCase(
        "a head from elsewhere",
        lambda: several_eps(1e-5, 1e-5, 1e-5, 1e-3, 1e-3),
        layers=("3", "4"),
        severity="I",
    ),
    RuleCase("less than a tenth", lambda: small_inputs(1e-3, 1.1e-2)),
    RuleCase("most channels are dead", lambda: small_inputs(1e-5, 1.0, dead=4)),
    RuleCase("the same eps, not torch's", lambda: several_eps(1e-3, 1e-3)),
    RuleCase(
        "layer norm has an eps of its own",
        lambda: {"model": nn.Sequential(nn.BatchNorm2d(3, eps=1e-3), nn.LayerNorm(3))},
    ),
]
