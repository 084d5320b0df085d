from __future__ import annotations

from typing import Any

from helpers.rule_case import RuleCase, conv_net, look_trained


def with_value(buffer: str, value: float) -> dict[str, Any]:
    model = look_trained(conv_net())
    getattr(model[4], buffer)[3] = value
    return {"model": model}


CASES = [
    RuleCase(
        "a NaN in a running mean",
        lambda: with_value("running_mean", float("nan")),
        layers=("4",),
        message="running_mean is NaN or inf in channel 3",
    ),
    RuleCase(
        "an infinite running variance",
        lambda: with_value("running_var", float("inf")),
        layers=("4",),
        message="running_var",
    ),
    RuleCase("large and finite", lambda: with_value("running_var", 3e38)),
]
