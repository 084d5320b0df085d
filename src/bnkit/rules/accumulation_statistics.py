"""BN505 accumulation-statistics: gradients of k batches, statistics of one."""

from __future__ import annotations

from collections.abc import Iterator

from bnkit.inspection.facts.whole import Facts
from bnkit.rules.rule import Finding, Rule


def find(facts: Facts) -> Iterator[Finding]:
    """Name every batch norm that normalizes by the batch in training."""
    setup = facts.setup
    k = setup.accumulation_steps
    assert k is not None
    if k == 1:
        return
    for layer in facts.model.batch_norms:
        if facts.is_kept_frozen(layer):
            continue
        size = setup.batch_size
        samples = f" of {size} samples, not the {k * size} of a step" if size else ""
        message = f"gradients add up over {k} batches, and it normalizes by each alone{samples}"
        remedy = ""
        if layer.momentum and layer.has_statistics and layer.track_running_stats:
            per_batch = 1 - (1 - layer.momentum) ** (1 / k)
            message += f"; its running statistics move {k} times per optimizer step"
            remedy = (
                f"Set momentum to {per_batch:.3g} if running statistics are to follow optimizer "
                "steps as without accumulation; against the small batches, use larger ones or "
                "group norm."
            )
        yield RULE.finding(layer.path, message, remedy=remedy)


RULE = Rule(
    code="BN505",
    name="accumulation-statistics",
    severity="I",
    needs="T",
    requires=("setup.accumulation_steps",),
    find=find,
    flags="Gradients accumulate over k batches before each optimizer step.",
    why="Accumulation equals one large batch for every layer but batch norm: mean and variance are "
    "those of each small batch, with its noise, and running statistics move k times per step, by "
    "batches that saw the same weights.",
    fine="Where the small batch gives enough values per channel; most convolutional networks train "
    "well so.",
    before="""
for step, (x, y) in enumerate(loader):  # 8 samples, 4 times
    (loss(model(x), y) / 4).backward()
    if step % 4 == 3:
        optimizer.step()
        optimizer.zero_grad()
""",
    after="""
for x, y in loader:  # 32 samples
    loss(model(x), y).backward()
    optimizer.step()
    optimizer.zero_grad()
""",
    remedy="Use larger batches or group norm where the small batches are too noisy.",
    source="Ioffe 2017, “Batch Renormalization”, section 1, on small minibatches.",
)
