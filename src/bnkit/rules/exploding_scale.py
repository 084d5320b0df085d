"""BN407 exploding-scale: a channel that eval mode multiplies by more than 1000."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

from bnkit.inspection.facts.model import LayerFacts
from bnkit.inspection.facts.whole import Facts
from bnkit.rules.rule import Finding, Rule
from bnkit.rules.wording import channels


def find(facts: Facts) -> Iterator[Finding]:
    """Compute |γ|·invstd per channel; what is not finite is BN101's."""
    limit = RULE.threshold(facts, "scale")
    for layer in facts.model.batch_norms:
        scales = _scales(layer)
        large = [c for c, value in enumerate(scales) if isfinite(value) and value > limit]
        if large:
            worst = max(large, key=lambda c: scales[c])
            assert layer.running_var is not None
            yield RULE.finding(
                layer.path,
                f"|γ|/√(running_var + eps) exceeds {limit:g} in {channels(large)}; the largest is "
                f"{scales[worst]:.4g}, with running_var {layer.running_var.values[worst]:.3g}",
            )


def _scales(layer: LayerFacts) -> list[float]:
    """Return |γ|·invstd per channel, 0 where the variance allows none; empty if unknown."""
    variances = layer.running_var.values if layer.running_var is not None else ()
    weights = layer.weight.values if layer.weight is not None else (1.0,) * len(variances)
    if len(weights) != len(variances) or "weight" in layer.parametrized:
        return []
    return [
        abs(w) / (v + layer.eps) ** 0.5 if v >= 0 and v + layer.eps > 0 else 0.0
        for w, v in zip(weights, variances, strict=True)
    ]


RULE = Rule(
    code="BN407",
    name="exploding-scale",
    severity="W",
    needs="M",
    find=find,
    flags="|γ|/√(running_var + eps), by which eval mode multiplies a channel, is above 1000.",
    why="The channel hardly varied in training, and a γ that large blows up whatever differs from "
    "its running mean: another input scale, quantization, or rounding in float16 makes thousands "
    "of it.",
    fine="Where the input has units that small, such as raw physical quantities around 1e-4 at the "
    "first layer.",
    before="""
norm = nn.BatchNorm2d(64, eps=1e-12)  # running_var 1e-10, weight 1: × 100000
""",
    after="""
norm = nn.BatchNorm2d(64, eps=1e-3)  # × 32 at most for the same weight
""",
    remedy="Raise eps and retrain, or prune the channel if its input is constant.",
    source="Ioffe and Szegedy 2015, algorithm 2: inference multiplies by γ/√(Var[x] + ε).",
    thresholds={"scale": 1e3},
)
