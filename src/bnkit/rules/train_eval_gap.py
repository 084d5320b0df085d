"""BN105 train-eval-gap: the two modes compute different functions on the same data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bnkit.inspection.facts.data import LayerGap, TrainEvalGap
from bnkit.inspection.facts.whole import Facts
from bnkit.rules.rule import Finding, Rule
from bnkit.rules.wording import listed


def find(facts: Facts) -> Iterator[Finding]:
    """Name the layer in which a gap of the model's output begins."""
    assert facts.data is not None
    gap = facts.data.gap
    assert gap is not None
    if not gap.output > RULE.threshold(facts, "output"):
        return
    causes = _causes(gap.layers)
    layers = {layer.path: layer for layer in facts.model.batch_norms}
    judged = [found for found in causes if facts.is_trained(layers[found.layer])]
    if not judged:
        return  # layers that were never trained make it: BN103's, or nobody's
    first, *others = judged
    also = ""
    if others:
        also = f", then in {listed([found.layer for found in others])}"
    yield RULE.finding(
        first.layer,
        f"on {gap.samples} samples the model's output in training mode is {gap.output:.3g} of its "
        f"norm away from that in eval mode; the gap begins here, where {first.own:.3g} of the "
        f"output's norm arises on the same input ({first.relative:.3g} with what reaches the "
        f"layer){also}{_loss(gap)}",
    )


def _causes(layers: Sequence[LayerGap]) -> list[LayerGap]:
    """Return the layers, in order, that by themselves do at least half of what the worst does."""
    worst = max((found.own for found in layers), default=0.0)
    return [found for found in layers if worst > 0 and found.own >= worst / 2]


def _loss(gap: TrainEvalGap) -> str:
    if gap.train_loss is None or gap.eval_loss is None:
        return ""
    return f"; cross-entropy {gap.train_loss:.3g} in training mode, {gap.eval_loss:.3g} in eval"


def _lacks(facts: Facts) -> str:
    assert facts.data is not None
    gap = facts.data.gap
    assert gap is not None
    least = RULE.threshold(facts, "samples")
    if gap.samples >= least:
        return ""
    return f"needs at least {least:g} samples (data=, --data), not {gap.samples}"


RULE = Rule(
    code="BN105",
    name="train-eval-gap",
    severity="W",
    needs="F/D",
    requires=("data.gap",),
    lacks=_lacks,
    thresholds={"output": 0.5, "samples": 256},
    find=find,
    flags="On at least 256 samples of real data, what the model returns with batch norms in "
    "training mode is away from what it returns in eval mode by more than half of its norm. "
    "Dropout is off in both; only batch norms differ.",
    why="Training minimizes the loss of the one function, and the other one is used. The gap comes "
    "from statistics that are stale, or from batches so small or so unlike the population that "
    "their statistics are not those of the running average.",
    fine="In a model that always runs in training mode, as some image-to-image GANs do.",
    before="""
for x, y in loader:  # batches of 4
    model.train()
    step(model, x, y)
""",
    after="""
for x, y in loader:  # the last tenth of the steps
    model.eval()  # normalize by the running statistics, as in use; γ and β train on
    step(model, x, y)
""",
    remedy="Recalibrate the running statistics on training data (bnkit.recalibrate); if the gap "
    "stays, train with larger batches, or freeze the statistics for the last part of training.",
    source="Ioffe 2017, “Batch Renormalization”, section 3; Wu and Johnson 2021, “Rethinking "
    "‘Batch’ in BatchNorm”, sections 3 and 4.",
)
