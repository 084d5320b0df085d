"""BN202 small-batch: statistics of a handful of values."""

from __future__ import annotations

from collections.abc import Iterator

from bnkit.inspection.facts.whole import Facts
from bnkit.rules.rule import Finding, Rule


def find(facts: Facts) -> Iterator[Finding]:
    """Scale m of the example to the training batch; of several calls the smallest m counts."""
    graph, batch_size = facts.graph, facts.setup.batch_size
    assert graph is not None
    assert batch_size is not None
    least: dict[str, tuple[float, tuple[int, ...]]] = {}
    for call in graph.norm_calls:
        m = graph.training_values_per_channel(call, batch_size)
        if m is None or not facts.normalizes_by_batch(call):
            continue
        m *= facts.ranks_together(call)
        # One value per channel is BN201's.
        if 1 < m < RULE.threshold(facts, "values"):
            found = (m, call.inputs[0].shape)
            least[call.place] = min(least.get(call.place, found), found)
    for place, (m, shape) in least.items():
        yield RULE.finding(
            place,
            f"a training batch of {batch_size} gives it m = {m:g} values per channel (on the "
            f"example its input has shape {shape}): batch means are off by about "
            f"1/√m = {m**-0.5:.2g} of σ, and running_var averages m/(m − 1) = {m / (m - 1):.3g} "
            "times the variance that training divides by",
        )


RULE = Rule(
    code="BN202",
    name="small-batch",
    severity="W",
    needs="G+T",
    requires=("setup.batch_size",),
    thresholds={"values": 16},
    find=find,
    flags="In training a batch norm has fewer than 16 values per channel, and more than one: m = "
    "N·|S|, where N is the training batch of one process.",
    why="Mean and variance of few values are noise, which differs with each batch and is absent in "
    "eval mode. And the two modes do not divide by the same: running_var averages the unbiased "
    "variance, m/(m − 1) times the biased one that training uses.",
    fine="Where the layer is frozen, or synchronised over processes that have enough together.",
    before="""
loader = DataLoader(dataset, batch_size=4)
head = nn.Sequential(nn.Linear(512, 64), nn.BatchNorm1d(64))
""",
    after="""
loader = DataLoader(dataset, batch_size=4)
head = nn.Sequential(nn.Linear(512, 64), nn.GroupNorm(8, 64))
""",
    remedy="Train with larger batches, synchronise the statistics over processes, or use batch "
    "renormalization or group norm here.",
    source="Wu and He 2018, “Group Normalization”, figure 1; Ioffe 2017, “Batch Renormalization”.",
)
