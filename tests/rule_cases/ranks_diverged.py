from __future__ import annotations

from typing import Any

from helpers.process_group import check_on_ranks
from helpers.rule_case import RuleCase, conv_net, look_trained


def ranks(**given: Any) -> dict[str, Any]:
    return {"model": look_trained(conv_net()), **given}


CASES = [
    RuleCase(
        "a mean has drifted",
        lambda: ranks(shift=0.25),
        layers=("4",),
        message="running_mean by up to 0.25 between the 2 ranks",
        run=check_on_ranks,
    ),
    RuleCase(
        "in DistributedDataParallel that does not broadcast",
        lambda: ranks(shift=0.25, broadcast=False),
        layers=("module.4",),
        run=check_on_ranks,
    ),
    RuleCase("rounding", lambda: ranks(shift=1e-7), run=check_on_ranks),
    RuleCase(
        "rank 0's are sent to all before the next forward",
        lambda: ranks(shift=0.25, broadcast=True),
        run=check_on_ranks,
    ),
]
