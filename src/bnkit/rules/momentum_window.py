"""BN502 momentum-window: running statistics over too few batches, or not there in time."""

from __future__ import annotations

from collections.abc import Iterator

from bnkit.inspection.facts.model import LayerFacts
from bnkit.inspection.facts.whole import Facts
from bnkit.rules.momentum_convention import takes_decay_for_momentum
from bnkit.rules.rule import Finding, Rule


def find(facts: Facts) -> Iterator[Finding]:
    """Hold 1/momentum, in batches, against what is too few and against all of the training."""
    for layer in facts.model.batch_norms:
        if layer.momentum is None or not layer.has_statistics or not layer.track_running_stats:
            continue
        if facts.is_kept_frozen(layer) or takes_decay_for_momentum(facts, layer):
            continue
        message = _misfit(facts, layer, layer.momentum)
        if message:
            yield RULE.finding(layer.path, message)


def _misfit(facts: Facts, layer: LayerFacts, momentum: float) -> str:
    if momentum <= 0:
        mean, var = layer.running_mean, layer.running_var
        assert mean is not None
        assert var is not None
        is_initial = set(mean.values) == {0.0} and set(var.values) == {1.0}
        # What was learnt and then given momentum 0 is frozen on purpose.
        return "momentum is 0: the running statistics stay at 0 and 1" if is_initial else ""
    window = 1 / momentum
    # The quotient of a float such as 0.1 may lie a rounding below 10.
    if window < RULE.threshold(facts, "fewest_batches") * (1 - 1e-9):
        return (
            f"momentum {momentum:g} averages over about {window:.3g} batches: eval mode takes "
            "over their noise"
        )
    steps = facts.setup.total_steps
    if steps is None:
        return ""
    batches = steps * (facts.setup.accumulation_steps or 1)
    if window > RULE.threshold(facts, "largest_share") * batches:
        left = (1 - momentum) ** batches
        return (
            f"momentum {momentum:g} averages over about {window:.4g} of {batches} batches: after "
            f"the last, the initial statistics still weigh {left:.2g}, and early weights' too much"
        )
    return ""


RULE = Rule(
    code="BN502",
    name="momentum-window",
    severity="I",
    needs="M",
    find=find,
    flags="1/momentum, the number of batches that running statistics average over, is below 10, "
    "or above a quarter of all batches of the training (total_steps=, with accumulation_steps=).",
    why="A short window gives eval mode the noise of a few batches; a long one the statistics of "
    "weights long gone, or what is left of the initial 0 and 1.",
    fine="A short one where batches are large and alike; a long one where the statistics are "
    "computed anew after training.",
    before="""
nn.BatchNorm2d(64, momentum=0.001)  # and 1000 steps of training
""",
    after="""
nn.BatchNorm2d(64, momentum=0.05)
""",
    remedy="Choose momentum so that 1/momentum is at least 10 batches and at most a tenth of the "
    "training, or recalibrate the statistics after training.",
    thresholds={"fewest_batches": 10, "largest_share": 0.25},
    source="torch.nn.BatchNorm2d: an exponential average of weight momentum; Wu and Johnson 2021, "
    "“Rethinking ‘Batch’ in BatchNorm”, section 3 (EMA against precise statistics).",
)
