"""BN102 negative-or-zero-variance: running variances that no input can have, or hardly any."""

from __future__ import annotations

from collections.abc import Iterator

from bnkit.inspection.facts.model import LayerFacts
from bnkit.inspection.facts.whole import Facts
from bnkit.rules.rule import Finding, Rule
from bnkit.rules.wording import channels

# Below it γ is taken for 0: the channel gives β, whatever its variance.
DEAD_SCALE = 1e-3
_TINY = 0.01  # of eps


def find(facts: Facts) -> Iterator[Finding]:
    """Sort the channels of each running variance; each kind is a finding."""
    for layer in facts.model.norms:
        var = layer.running_var.values if layer.running_var else ()
        negative = [i for i, value in enumerate(var) if value < 0]
        tiny = [i for i, v in enumerate(var) if v == 0 or 0 < v < _TINY * layer.eps]
        alive = [i for i in tiny if abs(scale_of(layer, i)) > DEAD_SCALE]
        dead = [i for i in tiny if abs(scale_of(layer, i)) <= DEAD_SCALE]
        if negative:
            least = min(var[i] for i in negative)
            yield RULE.finding(
                layer.path, f"running_var is negative in {channels(negative)}, down to {least:.3g}"
            )
        if alive:
            factor = (max(var[i] for i in alive) + layer.eps) ** -0.5 if layer.eps else float("inf")
            yield RULE.finding(
                layer.path,
                f"running_var is 0 or below eps/100 = {_TINY * layer.eps:.1g} in {channels(alive)} "
                f"of {len(var)}, which γ passes on: in eval mode they are multiplied by "
                f"{factor:.0f} or more times γ",
                severity="W",
            )
        if dead:
            yield RULE.finding(
                layer.path,
                f"running_var is 0 or below eps/100 = {_TINY * layer.eps:.1g} in {channels(dead)} "
                f"of {len(var)}, where γ is near 0 too: dead channels",
                severity="I",
                remedy="Prune the dead channels (bnkit.prune); they give β for every input.",
            )


def scale_of(layer: LayerFacts, channel: int) -> float:
    """Return γ of a channel; 1 without γ."""
    values = layer.weight.values if layer.weight else ()
    return values[channel] if channel < len(values) else 1.0


RULE = Rule(
    code="BN102",
    name="negative-or-zero-variance",
    severity="E",
    severities=("E", "W", "I"),
    needs="M",
    find=find,
    flags="A running variance below 0 (an error), or one that is 0 or below eps/100: a warning "
    "where |γ| > 1e-3, else information.",
    why="A negative variance is no variance: where it outweighs eps the channel is NaN. A "
    "variance of 0 means that the channel was constant in training; in eval mode whatever differs "
    "from that constant is multiplied by up to 1/√eps, 316 for the usual eps.",
    fine="Pretrained networks have dead channels: the input is constant, and weight decay has "
    "brought γ to 0. They cost memory and nothing else.",
    before="""
average.running_var -= 0.1 * (average.running_var - 2 * batch_var)  # can fall below 0
""",
    after="""
average.running_var += 0.1 * (batch_var - average.running_var)
""",
    remedy="Recalibrate the running statistics on training data (bnkit.recalibrate); prune "
    "channels that stay constant (bnkit.prune).",
    source="Ioffe and Szegedy 2015, algorithm 1: eps is added to a variance. Mehta et al. 2019, "
    "“On Implicit Filter Level Sparsity in Convolutional Neural Networks”, for dead channels.",
)
