"""BN406 dead-channel: a channel that batch norm multiplies by nearly 0."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from bnkit.inspection.facts.model import LayerFacts
from bnkit.inspection.facts.whole import Facts
from bnkit.rules.rule import Finding, Rule
from bnkit.rules.wording import channels


def find(facts: Facts) -> Iterator[Finding]:
    """Hold each |γ| against the layer's median."""
    factor = RULE.threshold(facts, "factor")
    for layer in facts.model.batch_norms:
        if layer.weight is None or "weight" in layer.parametrized:
            continue
        magnitudes = [abs(value) for value in layer.weight.values]
        if not magnitudes or max(magnitudes) == 0:
            continue  # a residual branch that begins as the identity
        limit = factor * median(magnitudes)
        dead = [c for c, value in enumerate(magnitudes) if value < limit or value == 0]
        if dead:
            yield RULE.finding(
                layer.path,
                f"|γ| is below {factor:g} of the layer's median in {channels(dead)}: "
                f"{len(dead)} of {len(magnitudes)} can be pruned{_shifts(layer, dead)}",
            )


def _shifts(layer: LayerFacts, dead: list[int]) -> str:
    values = layer.bias.values if layer.bias is not None else ()
    shifts = [values[c] for c in dead] if len(values) > max(dead) else [0.0]
    largest = max(shifts, key=abs)
    if largest == 0:
        return "; β is 0 there"
    return f"; β, up to {largest:.3g} there, must be absorbed by what comes after"


RULE = Rule(
    code="BN406",
    name="dead-channel",
    severity="I",
    needs="M",
    find=find,
    flags="Channels whose |γ| is below 1e-3 of the layer's median. A layer that is 0 throughout, "
    "as zero-initialized residual branches are, is not meant.",
    why="Such a channel puts out the constant β, whatever it gets: its filters cost time and "
    "memory and carry no information. Weight decay on γ makes them.",
    fine="After training with sparse γ on purpose, before the channels are pruned; pretrained "
    "networks have some.",
    before="""
y = norm(conv(x))  # norm.weight: [0.8, 1e-9, 1.1]
""",
    after="""
keep = norm.weight.abs() > 1e-3 * norm.weight.abs().median()
print(f"{int((~keep).sum())} channels to prune, their β {norm.bias[~keep]}")
""",
    remedy="Prune these channels with bnkit.prune, which adds what β gives after the activation to "
    "the next layer.",
    source="Liu et al. 2017, “Learning Efficient Convolutional Networks through Network Slimming”.",
    thresholds={"factor": 1e-3},
)
