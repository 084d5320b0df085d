"""BN106 half-precision-statistics: running statistics in 16 bits."""

from __future__ import annotations

from collections.abc import Iterator

from bnkit.inspection.facts.model import LayerFacts
from bnkit.inspection.facts.whole import Facts
from bnkit.rules.rule import EXACT, Finding, Rule

_HALVES = ("float16", "bfloat16")


def find(facts: Facts) -> Iterator[Finding]:
    """Look at the dtypes of the buffers; what never moves them again is a warning."""
    for layer in facts.model.norms:
        buffers = {"running_mean": layer.running_mean, "running_var": layer.running_var}
        found = {name: held.dtype for name, held in buffers.items() if held is not None}
        found = {name: dtype for name, dtype in found.items() if dtype in _HALVES}
        if not found:
            continue
        dtypes = sorted(set(found.values()))
        what = f"{' and '.join(found)} {'are' if len(found) > 1 else 'is'} {' and '.join(dtypes)}"
        moves = _is_trained_further(facts, layer)
        yield RULE.finding(
            layer.path,
            f"{what}: {_consequence(layer, dtypes[0], moves)}",
            severity="E" if moves else "W",
        )


def _is_trained_further(facts: Facts, layer: LayerFacts) -> bool:
    """Return whether forwards will move the statistics: a model is trained, this layer with it."""
    if facts.model.training:
        return layer.updates_statistics
    given = facts.setup.optimizer is not None or facts.setup.loader is not None
    return given and layer.is_batch_norm and layer.track_running_stats


def _consequence(layer: LayerFacts, dtype: str, moves: bool) -> str:
    if dtype == "float16":
        values = layer.running_var.values if layer.running_var else ()
        largest = max(values, default=0.0)
        return f"a variance above 65504 becomes inf (the largest here is {largest:.3g})"
    if not moves:
        return "three significant digits are left of each"
    share = layer.momentum or 0.0
    # Half a unit in the last place, 2⁻⁸ of the value, is lost; momentum × distance must be more.
    stall = f" up to {2**-8 / share:.1%} of its value" if share else ""
    return f"updates smaller than half a unit round to nothing, so the mean stalls{stall} short"


RULE = Rule(
    code="BN106",
    name="half-precision-statistics",
    severity="E",
    severities=("E", "W"),
    needs="M",
    find=find,
    flags="running_mean or running_var in float16 or bfloat16: an error where training goes on, a "
    "warning where the model is only evaluated.",
    why="A running average adds a tenth of a small difference to a large value. bfloat16 has 8 "
    "significant bits, so that the average stops while still percents away from its target; "
    "float16 ends at 65504, and variances are squares.",
    fine="In evaluation, where the loss of digits has been measured and found harmless.",
    before="""
model = model.half()
""",
    after="""
model = model.half()
for layer in model.modules():
    if isinstance(layer, torch.nn.BatchNorm2d):
        layer.float()  # weight, bias and buffers: it still takes and returns half precision
""",
    remedy="Convert the layer's weight, bias and buffers together to float32, with layer.float(): "
    "buffers alone raise on the CPU. Better, train under torch.autocast, which leaves them alone.",
    safety=EXACT,
    source="Micikevicius et al. 2018, “Mixed Precision Training”, section 3.1: statistics of "
    "batch norm are kept in single precision.",
)
