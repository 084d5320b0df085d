"""BN603 ranks-diverged: each process evaluates with statistics of its own."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite, sqrt

from bnkit.inspection.facts.model import LayerFacts
from bnkit.inspection.facts.whole import Facts
from bnkit.rules.rule import Finding, Rule


def find(facts: Facts) -> Iterator[Finding]:
    """Look for running statistics that differ between ranks by more than rounding.

    Where DistributedDataParallel sends rank 0's buffers to all before each forward, they differ
    by one step between two forwards, and no longer.
    """
    differences = facts.setup.rank_differences
    assert differences is not None
    if facts.setup.broadcast_buffers:
        return
    for layer in facts.model.batch_norms:
        own = f"{layer.path}." if layer.path else ""
        found = {
            name: differences.get(f"{own}{name}", 0.0) for name in ("running_mean", "running_var")
        }
        scales = _scales(layer)
        beyond = {
            name: value
            for name, value in found.items()
            if not value <= RULE.threshold(facts, "relative") * scales[name]
        }
        if beyond:
            parts = [
                f"{name} by up to {value:.3g}" if isfinite(value) else f"{name} in shape or by NaN"
                for name, value in beyond.items()
            ]
            yield RULE.finding(
                layer.path,
                f"{' and '.join(parts)} between the {facts.setup.world_size} ranks "
                f"(σ is up to {scales['running_mean']:.3g} here)",
            )


def _scales(layer: LayerFacts) -> dict[str, float]:
    """Return what differences of each buffer are held against: the largest σ and variance."""
    values = layer.running_var.values if layer.running_var is not None else ()
    var = max((value for value in values if isfinite(value) and value > 0), default=1.0)
    return {"running_mean": sqrt(var), "running_var": var}


RULE = Rule(
    code="BN603",
    name="ranks-diverged",
    severity="E",
    needs="T",
    requires=("setup.rank_differences",),
    find=find,
    flags="Running statistics differ between the processes of a group. Every process must call the "
    "check at about the same time.",
    why="The weights are equal on all ranks and the statistics are not: each rank evaluates "
    "another model, and the checkpoint has the statistics of whoever wrote it, which saw a part "
    "of the data.",
    fine="Where DistributedDataParallel broadcasts the buffers of rank 0 before each forward, as "
    "it does by default; that is not flagged.",
    before="""
model = DistributedDataParallel(model, broadcast_buffers=False)
""",
    after="""
model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
model = DistributedDataParallel(model, broadcast_buffers=False)
""",
    remedy="Before evaluating or saving, average running_mean over the ranks (all_reduce, weighted "
    "by their samples), and running_var + running_mean² likewise, less the new mean²; or "
    "synchronise the layers.",
    thresholds={"relative": 1e-5},
    source="torch.nn.parallel.DistributedDataParallel, on broadcast_buffers (in torch 2.13 "
    "forward_sync_buffers).",
)
