"""BN107 eps-dominates: eps of the size of the variance, or not the same throughout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from statistics import median

from bnkit.inspection.facts.model import LayerFacts
from bnkit.inspection.facts.whole import Facts
from bnkit.rules.negative_or_zero_variance import DEAD_SCALE, scale_of
from bnkit.rules.rule import Finding, Rule

_SHARE = 0.1


def find(facts: Facts) -> Iterator[Finding]:
    """Compare eps with each layer's variances, and with the other layers' eps."""
    for layer in facts.model.norms:
        middle = _median_variance(layer)
        if middle is not None and layer.eps > 0 and layer.eps >= _SHARE * middle:
            kept = max(middle, 0.0) / (max(middle, 0.0) + layer.eps)
            yield RULE.finding(
                layer.path,
                f"eps is {layer.eps:g} and the median of running_var {middle:.3g}: what leaves "
                f"the layer has {kept:.0%} of the variance that γ asks for",
            )
    yield from _different_eps(facts)


def _median_variance(layer: LayerFacts) -> float | None:
    """Return the median over the channels whose γ is not 0, of all where it is 0 throughout."""
    if layer.running_var is None or not layer.running_var.values:
        return None
    values = layer.running_var.values
    alive = [v for i, v in enumerate(values) if abs(scale_of(layer, i)) > DEAD_SCALE]
    return median(alive or values)


def _different_eps(facts: Facts) -> Iterator[Finding]:
    counts = Counter(layer.eps for layer in facts.model.batch_norms)
    if len(counts) < 2:
        return
    (usual, number), *_ = counts.most_common()
    for layer in facts.model.batch_norms:
        if layer.eps != usual:
            yield RULE.finding(
                layer.path,
                f"eps is {layer.eps:g}, and {usual:g} in {number} of {sum(counts.values())} batch "
                "norms",
                severity="I",
                remedy="Set one eps, unless the weights were trained with several.",
            )


RULE = Rule(
    code="BN107",
    name="eps-dominates",
    severity="W",
    severities=("W", "I"),
    needs="M",
    find=find,
    flags="eps is at least a tenth of the median running variance (a warning), or the batch norms "
    "of a model differ in eps (information).",
    why="The output has variance γ²·var/(var + eps). Where eps is not small beside var the layer "
    "normalizes less than it seems to, and differently for each scale of its input. Different eps "
    "often tell of weights ported from a framework with another default: 1e-3 in Keras, 1e-5 in "
    "torch.",
    fine="Some published models mix eps on purpose, backbones and heads from different sources "
    "among them. Weights that were trained with an eps must be evaluated with it.",
    before="""
nn.BatchNorm2d(64, eps=0.1)
""",
    after="""
nn.BatchNorm2d(64, eps=1e-5)
""",
    remedy="Set eps to 1e-5 and train again, or scale the inputs of the model up.",
    source="torch.nn.BatchNorm2d: y = (x − mean)/√(var + eps)·γ + β.",
)
