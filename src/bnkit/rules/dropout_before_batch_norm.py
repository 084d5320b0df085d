"""BN403 dropout-before-batch-norm: the variance of training is not that of eval."""

from __future__ import annotations

from collections.abc import Iterator

from bnkit.inspection.facts.graph import CallFacts, GraphFacts
from bnkit.inspection.facts.whole import Facts
from bnkit.rules.rule import Finding, Rule
from bnkit.rules.wording import listed

_NORMS = ("batch-norm", "norm")


def find(facts: Facts) -> Iterator[Finding]:
    """Walk upstream from each batch norm, up to other normalizations."""
    graph = facts.graph
    assert graph is not None
    found: dict[str, dict[str, None]] = {}
    for call in graph.norm_calls:
        layer = facts.norm_of(call)
        is_frozen = layer is not None and facts.is_kept_frozen(layer)
        if is_frozen or not facts.uses_running_statistics(call):
            continue
        for source in graph.upstream(call, lambda other: other.family in _NORMS):
            if source.family == "dropout" and _drops_values(facts, graph, source):
                found.setdefault(call.place, {})[_described(facts, source)] = None
    for place, dropouts in found.items():
        yield RULE.finding(
            place,
            f"{listed(list(dropouts))} comes before it with no other normalization between: its "
            "input has a larger variance in training than in eval mode",
        )


def _drops_values(facts: Facts, graph: GraphFacts, call: CallFacts) -> bool:
    """Return whether a dropout drops single values or channels, and not whole samples."""
    if _probability(facts, call) <= 0 or not call.inputs:
        return False
    shape = call.inputs[0].shape
    if all(size == 1 for size in shape[1:]):
        return False  # one value per sample: stochastic depth's mask
    if graph.example_size and shape[:2] == (1, graph.example_size):
        # Samples on the channel axis, each dropped as a whole.
        return _kind(facts, call) not in ("dropout1d", "dropout2d", "dropout3d", "feature_dropout")
    return True


def _kind(facts: Facts, call: CallFacts) -> str:
    module = facts.model.module(call.name) if call.is_module else None
    return call.function if module is None else module.type_name.lower()


def _probability(facts: Facts, call: CallFacts) -> float:
    module = facts.model.module(call.name) if call.is_module else None
    options = call.options if module is None else module.options
    p = options.get("p", options.get("1", 0.5))
    return float(p) if isinstance(p, int | float) else 0.5


def _described(facts: Facts, call: CallFacts) -> str:
    name = call.name if call.is_module else f"{call.function} in {call.inside or 'the model'}"
    return f"{name} (p = {_probability(facts, call):g})"


RULE = Rule(
    code="BN403",
    name="dropout-before-batch-norm",
    severity="W",
    needs="G",
    find=find,
    flags="Dropout with p > 0, a module or F.dropout, whose output reaches a batch norm with no "
    "other normalization between. The batch norm is named. Stochastic depth, which drops whole "
    "samples' branches, is not meant.",
    why="Dropout keeps the mean and raises the variance: by 1/(1 − p) where the mean is 0. "
    "running_var learns the variance of training, and in eval mode, without dropout, the input "
    "has another one; the shift grows through the layers that follow.",
    fine="Where the published design has it and the accuracy is known (wide ResNets with dropout), "
    "and with small p before wide layers. Recalibrating with dropout off removes the shift.",
    before="""
nn.Sequential(nn.Linear(64, 64), nn.Dropout(0.5), nn.Linear(64, 64), nn.BatchNorm1d(64))
""",
    after="""
nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Dropout(0.5))
""",
    remedy="Move the dropout behind the last normalization.",
    source="Li et al. 2019, “Understanding the Disharmony between Dropout and Batch "
    "Normalization by Variance Shift”.",
)
