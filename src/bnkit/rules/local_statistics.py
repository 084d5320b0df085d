"""BN601 local-statistics: each process normalizes by its own few values."""

from __future__ import annotations

from collections.abc import Iterator

from bnkit.inspection.facts.whole import Facts
from bnkit.rules.rule import Finding, Rule


def find(facts: Facts) -> Iterator[Finding]:
    """Look for plain batch norms of a model that trains in several processes, with m < 16."""
    setup, graph = facts.setup, facts.graph
    assert graph is not None
    assert setup.batch_size is not None
    is_parallel = setup.wrapper == "DistributedDataParallel"
    if not is_parallel and setup.world_size < 2:
        return
    limit = RULE.threshold(facts, "values_per_channel")
    smallest: dict[str, float] = {}
    for call in graph.norm_calls:
        layer = facts.norm_of(call)
        m = graph.training_values_per_channel(call, setup.batch_size)
        if layer is not None and (layer.kind == "sync" or facts.is_kept_frozen(layer)):
            continue
        if m is not None and m < limit:
            smallest[call.place] = min(m, smallest.get(call.place, m))
    for place, m in smallest.items():
        ranks = f"{setup.world_size} processes" if setup.world_size > 1 else "each process"
        together = f", not by {m * setup.world_size:g} together" if setup.world_size > 1 else ""
        yield RULE.finding(
            place,
            f"with {setup.batch_size} samples per process, {ranks} under "
            f"{setup.wrapper or 'a process group'}, it normalizes by {m:g} values per channel"
            f"{together}; that is below {limit:g}",
        )


RULE = Rule(
    code="BN601",
    name="local-statistics",
    severity="W",
    needs="G+T",
    requires=("setup.batch_size",),
    find=find,
    flags="A model in DistributedDataParallel has plain batch norms, and a process's part of the "
    "batch gives them fewer than 16 values per channel.",
    why="DistributedDataParallel averages gradients, not statistics: each process normalizes by "
    "its own samples, and adding processes makes the statistics no better.",
    fine="From some dozens of values per channel on, which convolutional layers usually have.",
    before="""
model = DistributedDataParallel(model.cuda())  # 2 samples per process
""",
    after="""
model = nn.SyncBatchNorm.convert_sync_batchnorm(model.cuda())
model = DistributedDataParallel(model)
""",
    remedy="Convert the layer to torch.nn.SyncBatchNorm before wrapping the model (on GPUs), or "
    "use group norm.",
    thresholds={"values_per_channel": 16},
    source="torch.nn.SyncBatchNorm; Peng et al. 2018, “MegDet”, section 3.",
)
