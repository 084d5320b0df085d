from __future__ import annotations

from typing import Any

from helpers.rule_case import RuleCase, conv_net, look_trained


def frozen(*names: str, training: bool = True, **options: Any) -> dict[str, Any]:
    model = look_trained(conv_net(**options))
    for name in names:
        getattr(model[1], name).requires_grad_(False)
    model[1].train(training)
    return {"model": model}


CASES = [
    RuleCase("in training mode", lambda: frozen("weight", "bias"), layers=("1",)),
    RuleCase("in eval mode", lambda: frozen("weight", "bias", training=False)),
    RuleCase("β still trains", lambda: frozen("weight")),
    RuleCase("momentum 0 moves nothing", lambda: frozen("weight", "bias", momentum=0.0)),
    RuleCase("no parameters to freeze", lambda: frozen(affine=False)),
]
