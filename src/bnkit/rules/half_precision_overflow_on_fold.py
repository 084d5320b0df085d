"""BN704 half-precision-overflow-on-fold: numbers that float16 cannot hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite

from bnkit.inspection.facts.model import LayerFacts, ModuleFacts
from bnkit.inspection.facts.whole import Facts
from bnkit.rules.fold_pairs import LINEAR_MAPS, fold_pairs
from bnkit.rules.rule import Finding, Rule
from bnkit.rules.wording import channels

_LARGEST = 65504.0


def find(facts: Facts) -> Iterator[Finding]:
    """Compute s·W and s·(b − running_mean) + β per channel, where float16 is the target."""
    if facts.setup.target_dtype not in ("float16", "half"):
        return
    linear_maps = _linear_maps(facts)
    for layer in facts.model.batch_norms:
        if not layer.has_statistics or facts.is_never_updated(layer):
            continue
        assert layer.running_var is not None
        found = [
            f"{name} up to {max(large.values()):.3g} in {channels(list(large))}"
            for name, values in (
                ("a running_var", layer.running_var.values),
                ("folded weights", _folded_weights(layer, linear_maps.get(layer.path))),
                ("a folded bias", _folded_bias(layer)),
            )
            if (large := _beyond(values))
        ]
        if found:
            yield RULE.finding(
                layer.path, f"it has {'; '.join(found)}, and float16 ends at {_LARGEST:g}"
            )


def _beyond(values: Sequence[float]) -> dict[int, float]:
    return {
        c: abs(value) for c, value in enumerate(values) if isfinite(value) and abs(value) > _LARGEST
    }


def _scales(layer: LayerFacts) -> list[float]:
    """Return s = γ/√(running_var + eps) per channel; empty where it has none."""
    if layer.running_var is None or any(v + layer.eps <= 0 for v in layer.running_var.values):
        return []
    variances = layer.running_var.values
    weights = layer.weight.values if layer.weight is not None else (1.0,) * len(variances)
    if len(weights) != len(variances):
        return []
    return [w / (v + layer.eps) ** 0.5 for w, v in zip(weights, variances, strict=True)]


def _folded_weights(layer: LayerFacts, module: ModuleFacts | None) -> list[float]:
    scales = _scales(layer)
    if module is None or len(module.largest_weights) != len(scales):
        return []
    return [s * w for s, w in zip(scales, module.largest_weights, strict=True)]


def _folded_bias(layer: LayerFacts) -> list[float]:
    scales = _scales(layer)
    means = layer.running_mean.values if layer.running_mean is not None else ()
    if len(means) != len(scales):
        return []
    biases = layer.bias.values if layer.bias is not None else (0.0,) * len(scales)
    if len(biases) != len(scales):
        return []
    return [b - s * m for s, m, b in zip(scales, means, biases, strict=True)]


def _linear_maps(facts: Facts) -> dict[str, ModuleFacts]:
    """Return path of a batch norm → the layer before it: as traced, else the one beside it."""
    if facts.graph is not None:
        return {pair.layer.path: pair.module for pair in fold_pairs(facts) if pair.is_after}
    found: dict[str, ModuleFacts] = {}
    last: dict[str, ModuleFacts] = {}
    for module in facts.model.modules:
        parent = module.path.rpartition(".")[0]
        before = last.get(parent)
        if before is not None and before.family in LINEAR_MAPS and module.family == "batch-norm":
            found[module.path] = before
        last[parent] = module
    return found


RULE = Rule(
    code="BN704",
    name="half-precision-overflow-on-fold",
    severity="W",
    needs="M+T",
    requires=("setup.target_dtype",),
    find=find,
    flags="float16 is the stated target (target_dtype=), and a running variance, or what a fold "
    "into the layer before makes of its weights or bias, is beyond 65504. Which layer comes before "
    "is read off the traced forward, or without an example off the order of the modules.",
    why="float16 makes infinity of it, and the network gives NaN. Activations of 300 have a "
    "variance of 90000, and a dead channel with a variance near 0 multiplies its weights by "
    "γ/√eps.",
    fine="Where batch norm and the folded layer stay in float32, or the target is bfloat16, whose "
    "range is float32's.",
    before="""
model = model.eval().half()  # running_var of 90000 becomes inf
""",
    after="""
model = model.eval()
with torch.autocast("cuda", torch.float16):  # batch norm keeps float32
    y = model(x)
""",
    remedy="Keep this layer in float32, or use bfloat16.",
    source="IEEE 754 binary16: the largest finite number is 65504; torch.amp's list of operators "
    "that keep float32.",
)
