from __future__ import annotations

from typing import Any

from torch import nn

from helpers.rule_case import RuleCase, conv_net, look_trained


def pair(*evaluated: str, freeze: bool = False, training: bool = True) -> dict[str, Any]:
    """A backbone and a head, parts of which are in another mode than the model."""
    model = nn.ModuleDict({"backbone": conv_net(), "head": conv_net()})
    look_trained(model).train(training)
    for path in evaluated:
        part = model.get_submodule(path)
        part.train(not training)
        if freeze:
            part.requires_grad_(False)
    return {"model": model}


CASES = [
    RuleCase(
        "a part was left in eval mode",
        lambda: pair("backbone"),
        layers=("backbone.1", "backbone.4"),
        message="its γ and β train and 2 others normalize by the batch",
    ),
    RuleCase("one layer", lambda: pair("head.4"), layers=("head.4",), message="3 others"),
    RuleCase(
        "a part was left in training mode",
        lambda: pair("head.1", training=False),
        layers=("head.1",),
        message="in training mode in a model that is in eval mode",
    ),
    RuleCase("frozen with its parameters", lambda: pair("backbone", freeze=True)),
    RuleCase("all in eval mode", lambda: pair(training=False)),
    RuleCase("all in training mode", pair),
    RuleCase(
        "all batch norms in eval mode, the rest in training mode",
        lambda: pair("backbone.1", "backbone.4", "head.1", "head.4"),
    ),
    RuleCase(
        "batch norms alone in training mode, to adapt them",
        lambda: pair("backbone.1", "backbone.4", "head.1", "head.4", training=False),
    ),
    RuleCase(
        "nothing to train in those in eval mode",
        lambda: {
            "model": nn.Sequential(
                conv_net(), nn.BatchNorm2d(5, affine=False).eval(), nn.BatchNorm2d(5)
            )
        },
    ),
]
