"""BN101 nonfinite-statistics: NaN or inf in running statistics."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

from bnkit.inspection.facts.whole import Facts
from bnkit.rules.rule import Finding, Rule
from bnkit.rules.wording import channels


def find(facts: Facts) -> Iterator[Finding]:
    """Look at each running mean and variance."""
    for layer in facts.model.norms:
        buffers = {"running_mean": layer.running_mean, "running_var": layer.running_var}
        found = []
        for name, buffer in buffers.items():
            wrong = [i for i, v in enumerate(buffer.values if buffer else ()) if not isfinite(v)]
            if wrong:
                found.append(f"{name} is NaN or inf in {channels(wrong)}")
        if found:
            yield RULE.finding(layer.path, " and ".join(found))


RULE = Rule(
    code="BN101",
    name="nonfinite-statistics",
    severity="E",
    needs="M",
    find=find,
    flags="A running mean or running variance holds NaN or infinity.",
    why="In eval mode the channel is NaN for every input, and so is all that follows it. Training "
    "looks healthy, because it normalizes by the batch; and the running average never forgets a "
    "NaN, since 0.9 · NaN is NaN.",
    fine="Never. One overflowing batch is enough, also one that a gradient scaler skipped: the "
    "scaler skips the step, not the statistics.",
    before="""
for x, y in loader:  # one x holds an inf
    scaler.scale(loss(model(x), y)).backward()
""",
    after="""
for layer in model.modules():
    if isinstance(layer, torch.nn.BatchNorm2d):
        layer.reset_running_stats()
# then pass training data through the model in training mode
""",
    remedy="Recalibrate the running statistics on training data: bnkit.recalibrate.",
    source="torch.nn.BatchNorm2d: running = (1 − momentum)·running + momentum·batch.",
)
