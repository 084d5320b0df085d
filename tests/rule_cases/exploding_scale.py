from __future__ import annotations

from typing import Any

import torch

from helpers.rule_case import RuleCase, conv_net, look_trained


def with_channel(var: float, weight: float, eps: float = 1e-5, **options: Any) -> dict[str, Any]:
    model = look_trained(conv_net(eps=eps, **options))
    with torch.no_grad():
        model[1].running_var[3] = var
        if model[1].weight is not None:
            model[1].weight[3] = weight
    return {"model": model}


CASES = [
    RuleCase("a large γ", lambda: with_channel(1.0, 2000.0), ("1",), message="channel 3"),
    RuleCase("a negative γ on a small variance", lambda: with_channel(1e-6, -4.0), ("1",)),
    RuleCase("a tiny eps", lambda: with_channel(1e-9, 1.0, 1e-12), ("1",), message="1e-09"),
    RuleCase("no γ", lambda: with_channel(1e-9, 1.0, 1e-12, affine=False), ("1",)),
    RuleCase("a dead channel of a pretrained network", lambda: with_channel(1e-12, 0.5)),
    RuleCase("large and below the limit", lambda: with_channel(1.0, 900.0)),
    RuleCase("NaN is another rule's", lambda: with_channel(float("nan"), 1.0)),
    RuleCase("a negative variance is another rule's", lambda: with_channel(-1.0, 1.0)),
    RuleCase("no statistics", lambda: {"model": conv_net(track_running_stats=False)}),
]
