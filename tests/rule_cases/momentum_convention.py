from __future__ import annotations

from typing import Any

from torch import nn

import bnkit
from helpers.rule_case import RuleCase, conv_net


def with_momentum(momentum: float | None, **options: Any) -> dict[str, Any]:
    return {"model": conv_net(momentum=momentum, **options)}


def kept_frozen() -> dict[str, Any]:
    given = with_momentum(0.99)
    for place in (1, 4):
        given["model"][place].eval()
    return given


def one_of_many() -> dict[str, Any]:
    layers = [nn.BatchNorm1d(3), bnkit.BatchNorm1d(3, momentum=0.9), nn.BatchNorm1d(3)]
    return {"model": nn.Sequential(*layers).eval()}


CASES = [
    RuleCase("Keras's default", lambda: with_momentum(0.99), layers=("1", "4"), message="is 0.99"),
    RuleCase("one of many, in eval mode", one_of_many, layers=("1",), message="1.1 batches"),
    RuleCase("1", lambda: with_momentum(1.0), layers=("1", "4"), message="the last batch alone"),
    RuleCase("half", lambda: with_momentum(0.5), layers=("1", "4"), message="about 2 batches"),
    RuleCase(
        "a threshold of the user's",
        lambda: {**with_momentum(0.4), "thresholds": {"BN501": 0.3}},
        layers=("1", "4"),
    ),
    RuleCase("torch's default", lambda: with_momentum(0.1)),
    RuleCase("MobileNet's", lambda: with_momentum(0.01)),
    RuleCase("the average of all batches", lambda: with_momentum(None)),
    RuleCase("nothing is tracked", lambda: with_momentum(1.0, track_running_stats=False)),
    RuleCase("kept frozen", kept_frozen),
]
