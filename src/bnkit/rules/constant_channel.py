"""BN108 constant-channel: nothing to normalize in a channel."""

from __future__ import annotations

from collections.abc import Iterator

from bnkit.inspection.facts.data import InputValues
from bnkit.inspection.facts.model import LayerFacts
from bnkit.inspection.facts.whole import Facts
from bnkit.rules.negative_or_zero_variance import DEAD_SCALE, scale_of
from bnkit.rules.rule import Finding, Rule
from bnkit.rules.wording import channels

# Fewer values may be alike by chance: most of what leaves a ReLU is 0.
_LEAST_VALUES = 16
# Of the value: what rounding makes of a constant, squared for variances.
_ROUNDING = 1e-6


def find(facts: Facts) -> Iterator[Finding]:
    """Look for channels that hold one value in every call, and over the whole of the data.

    Where γ is near 0 the channel is dead and harmless: that is BN102's and BN406's.
    """
    assert facts.forward is not None
    assert facts.graph is not None
    calls: dict[str, list[InputValues]] = {}
    for values in facts.forward.inputs:
        calls.setdefault(values.layer, []).append(values)
    for found in calls.values():
        layer = facts.trained_norm(facts.graph.calls[found[0].call])
        if layer is None or sum(values.count for values in found) < _LEAST_VALUES:
            continue
        constant = [
            channel
            for channel in range(len(found[0].mean))
            if abs(scale_of(layer, channel)) > DEAD_SCALE
            and _is_constant(found, channel)
            and _stays_constant(facts, layer, channel)
        ]
        if constant:
            held = found[0].mean[constant[0]]
            yield RULE.finding(
                layer.path,
                f"the input of {channels(constant)} of {len(found[0].mean)} is constant on the "
                f"data ({held:.3g} in channel {constant[0]}): normalized by the batch it is 0, "
                "with gradient 0, and only β is left",
            )


def _is_constant(calls: list[InputValues], channel: int) -> bool:
    low = min(values.minimum[channel] for values in calls)
    high = max(values.maximum[channel] for values in calls)
    return high - low <= _ROUNDING * max(abs(low), abs(high))


def _stays_constant(facts: Facts, layer: LayerFacts, channel: int) -> bool:
    population = None if facts.data is None else facts.data.population(layer.path)
    if population is None:
        return True
    size = abs(population.mean[channel])
    return population.var[channel] <= (_ROUNDING * max(size, _ROUNDING)) ** 2


RULE = Rule(
    code="BN108",
    name="constant-channel",
    severity="W",
    needs="F",
    find=find,
    flags="The input of a trained batch norm is constant in a channel, over all of the data, and γ "
    "there is not near 0.",
    why="The variance is 0: in training the channel gives β for every input and passes no gradient "
    "back, so that what feeds it will never learn. In eval mode the first input that does differ "
    "is multiplied by up to 1/√eps.",
    fine="Where the feature is constant in the data that were given and not in others.",
    before="""
features = torch.cat([measured, torch.ones(len(measured), 1)], dim=1)  # a bias column
y = nn.BatchNorm1d(9)(features)
""",
    after="""
y = nn.BatchNorm1d(8)(measured)  # it has a bias of its own, β
""",
    remedy="Find out why what feeds it is constant: a dead ReLU or filter, a column without "
    "information, a mask. Initialize it anew, or prune the channel.",
    source="Ioffe and Szegedy 2015, algorithm 1 and section 3: x − mean is 0, and so is ∂ℓ/∂x.",
)
