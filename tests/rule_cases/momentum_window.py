from __future__ import annotations

from typing import Any

from helpers.rule_case import RuleCase, conv_net, look_trained


def with_momentum(momentum: float | None, **given: Any) -> dict[str, Any]:
    return {"model": conv_net(momentum=momentum), **given}


def stopped(*, trained: bool) -> dict[str, Any]:
    model = conv_net(momentum=0.0)
    return {"model": look_trained(model) if trained else model}


CASES = [
    RuleCase("five batches", lambda: with_momentum(0.2), layers=("1", "4"), message="about 5 bat"),
    RuleCase(
        "longer than the training",
        lambda: with_momentum(0.001, total_steps=500),
        layers=("1", "4"),
        message="the initial statistics still weigh 0.61",
    ),
    RuleCase(
        "above a quarter of it", lambda: with_momentum(0.01, total_steps=300), layers=("1", "4")
    ),
    RuleCase("0", lambda: stopped(trained=False), layers=("1", "4"), message="stay at 0 and 1"),
    RuleCase("0 after training: frozen", lambda: stopped(trained=True)),
    RuleCase("torch's default", lambda: with_momentum(0.1, total_steps=1000)),
    RuleCase(
        "long enough with accumulation",
        lambda: with_momentum(0.01, total_steps=300, accumulation_steps=4),
    ),
    RuleCase("the training's length is not known", lambda: with_momentum(0.001)),
    RuleCase("the average of all batches", lambda: with_momentum(None, total_steps=10)),
    RuleCase("BN501's", lambda: with_momentum(0.9)),
]
