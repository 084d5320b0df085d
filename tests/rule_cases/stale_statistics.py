from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from helpers.rule_case import RuleCase, conv_net, recalibrated, values

DATA = values(128, 3, 8, 8)


def changed(*places: int, mean: float = 0.0, var: float = 1.0, **options: Any) -> dict[str, Any]:
    """The statistics of some layers are moved by so many σ, and multiplied."""
    model = recalibrated(conv_net(**options), DATA)
    for place in places:
        model[place].running_mean += mean * model[place].running_var.sqrt()
        model[place].running_var *= var
    return {"model": model.eval(), "data": DATA}


def weights_edited() -> dict[str, Any]:
    """The second conv's weights doubled: "1" stays true, "4" is stale."""
    model = recalibrated(conv_net(), DATA)
    with torch.no_grad():
        model[3].weight *= 3
    return {"model": model.eval(), "data": DATA}


def young() -> dict[str, Any]:
    model = conv_net(momentum=0.01)
    with torch.no_grad():
        model(DATA * 8 + 20)
    return {"model": model, "data": DATA * 8 + 20}


def one_channel() -> dict[str, Any]:
    given = changed()
    given["model"][1].running_mean[0] += 100
    return given


def left_behind() -> dict[str, Any]:
    model = recalibrated(conv_net(), DATA * 5 + 3)
    model[1].reset_running_stats()
    return {"model": model, "data": DATA * 5 + 3}


class Nested(nn.Module):
    """Inputs in a dictionary, vectors and sequences, several outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(
            {"rows": nn.BatchNorm1d(5), "steps": nn.Sequential(nn.BatchNorm1d(4, affine=False))}
        )

    def forward(self, rows: Tensor, steps: Tensor) -> dict[str, Any]:
        return {"out": [self.parts["rows"](rows), (self.parts["steps"](steps),)]}


def nested(shift: float) -> dict[str, Any]:
    rows, steps = values(96, 5) + 4, values(96, 4, 7, seed=1) * 3
    model = recalibrated(Nested(), (rows, steps))
    model.parts["steps"][0].running_mean += 3 * shift
    return {"model": model, "data": {"rows": rows, "steps": steps}}


def frozen() -> dict[str, Any]:
    """A frozen first layer has the statistics of other data, and the next one saw its output."""
    model = recalibrated(conv_net(), DATA)
    model[1].running_mean += 2
    model.train()
    model[1].eval()
    model[4].reset_running_stats()
    model[4].momentum = None
    with torch.no_grad():
        model(DATA)
    return {"model": model, "data": DATA}


def fresh(build: Callable[[], nn.Module]) -> dict[str, Any]:
    return {"model": build().eval(), "data": DATA * 5 + 3}


CASES = [
    RuleCase("a shifted mean", lambda: changed(4, mean=0.5), layers=("4",), message="0.5σ"),
    RuleCase("far off", lambda: changed(1, mean=1.3), layers=("1",), severity="E"),
    RuleCase("a variance twice as large", lambda: changed(1, var=2.0), layers=("1",)),
    RuleCase("a variance too small", lambda: changed(4, var=0.2), layers=("4",), severity="E"),
    RuleCase(
        "two layers, in order",
        lambda: changed(1, 4, mean=2.0),
        layers=("1", "4"),
        severity="E",
        message="of 2 stale layers",
    ),
    RuleCase("weights edited afterwards", weights_edited, layers=("4",), severity="E"),
    RuleCase("no γ and β", lambda: changed(1, mean=0.5, affine=False), layers=("1",)),
    RuleCase("inside of a nested model", lambda: nested(0.6), layers=("parts.steps.0",)),
    RuleCase(
        "momentum too small", young, ("1", "4"), "E", "counted 1 batches, too few for momentum"
    ),
    RuleCase("statistics of the data", changed),
    RuleCase("a little off", lambda: changed(1, 4, mean=0.15, var=1.3)),
    RuleCase("one channel of four", one_channel),
    RuleCase("nested and right", lambda: nested(0.0)),
    RuleCase("a frozen layer", frozen),
    RuleCase("never trained", lambda: fresh(conv_net)),
    RuleCase(
        "8 samples say little",
        lambda: {**changed(1, mean=0.3), "data": DATA[:8]},
    ),
    RuleCase("no statistics", lambda: fresh(lambda: conv_net(track_running_stats=False))),
    RuleCase("never updated: BN103's", left_behind),
]
