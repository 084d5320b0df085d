"""BN201 single-value-per-channel: nothing to normalize by in training."""

from __future__ import annotations

from collections.abc import Iterator

from bnkit.inspection.facts.whole import Facts
from bnkit.rules.rule import Finding, Rule


def find(facts: Facts) -> Iterator[Finding]:
    """Scale m of the example to the training batch; frozen layers use their running statistics."""
    graph, batch_size = facts.graph, facts.setup.batch_size
    assert graph is not None
    assert batch_size is not None
    seen: set[str] = set()
    for call in graph.norm_calls:
        m = graph.training_values_per_channel(call, batch_size)
        if m is None or m > 1 or call.place in seen:
            continue
        if not facts.normalizes_by_batch(call):
            continue
        seen.add(call.place)
        shape = call.inputs[0].shape
        yield RULE.finding(
            call.place,
            f"a training batch of {batch_size} gives it one value per channel (on the example its "
            f"input has shape {shape})",
        )


RULE = Rule(
    code="BN201",
    name="single-value-per-channel",
    severity="E",
    needs="G+T",
    requires=("setup.batch_size",),
    find=find,
    flags="In training a batch norm sees m = N·|S| = 1 value per channel: a batch of one sample, "
    "and an input that was pooled to 1×1 or is a vector.",
    why="The variance of one value is 0. torch refuses such a batch in training with “Expected "
    "more than 1 value per channel”; elsewhere the output is β for every input.",
    fine="Where the layer is frozen, or the model is never trained with this batch size.",
    before="""
pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(256, 64, 1), nn.BatchNorm2d(64))
loader = DataLoader(dataset, batch_size=1)
""",
    after="""
pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(256, 64, 1), nn.GroupNorm(8, 64))
loader = DataLoader(dataset, batch_size=1)
""",
    remedy="Train with more samples per batch, freeze this layer (bnkit.freeze), or use group norm "
    "here (bnkit.convert).",
    source="torch.nn.functional.batch_norm (_verify_batch_size); Wu and He 2018, “Group "
    "Normalization”.",
)
