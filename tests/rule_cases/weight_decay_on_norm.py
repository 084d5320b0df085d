from __future__ import annotations

from typing import Any

import torch

from helpers.rule_case import RuleCase, conv_net


def decaying(*places: int) -> dict[str, Any]:
    """The batch norms of these places decay, and all convs do."""
    model = conv_net()
    decayed, others = [model[0].weight, model[3].weight], []
    for place in (1, 4):
        (decayed if place in places else others).extend(model[place].parameters())
    groups = [{"params": decayed, "weight_decay": 0.01}]
    if others:
        groups.append({"params": others})
    return {"model": model, "optimizer": torch.optim.SGD(groups, lr=0.1)}


CASES = [
    RuleCase("one group", lambda: decaying(1, 4), layers=("1", "4"), message="by 0.01"),
    RuleCase("one of two split off", lambda: decaying(4), layers=("4",)),
    RuleCase("split groups", decaying),
]
