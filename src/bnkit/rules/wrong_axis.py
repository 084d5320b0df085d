"""BN404 wrong-axis: the features lie on another axis than the one that batch norm reads."""

from __future__ import annotations

from collections.abc import Iterator

from bnkit.inspection.facts.graph import CallFacts
from bnkit.inspection.facts.whole import Facts
from bnkit.rules.feature_axis import Origin, feature_origins, origin_of_input
from bnkit.rules.rule import ERROR, INFO, Finding, Rule


def find(facts: Facts) -> Iterator[Finding]:
    """Follow the axis of the features from the layers that make them to each batch norm."""
    graph = facts.graph
    assert graph is not None
    origins = feature_origins(facts, graph)
    seen: set[str] = set()
    for call in graph.norm_calls:
        origin = origin_of_input(graph, call, origins)
        if origin is None or origin.axis == 1 or call.place in seen:
            continue
        seen.add(call.place)
        severity = ERROR if _is_certain(facts, call, origin) else INFO
        yield RULE.finding(call.place, _message(call, origin), severity=severity)


def _is_certain(facts: Facts, call: CallFacts, origin: Origin) -> bool:
    """Return whether a layer with its features on the last axis leads to a 3-D batch norm."""
    if len(call.inputs[0].shape) != 3 or origin.is_permuted or origin.scrambled is not None:
        return False
    maker = origin.call
    if maker.family in ("recurrent", "attention"):
        module = facts.model.module(maker.name) if maker.is_module else None
        return module is not None and module.options.get("batch_first") is True
    return maker.family in ("linear", "embedding", "norm")


def _message(call: CallFacts, origin: Origin) -> str:
    shape = call.inputs[0].shape
    maker = origin.call.name if origin.call.is_module else f"{origin.call.function}()"
    if origin.scrambled is not None:
        return (
            f"its input was reshaped from {origin.scrambled.inputs[0].shape} to {shape} after "
            f"{maker}: that swaps the sizes of axes and mixes up their values"
        )
    return (
        f"its input of shape {shape} has the features of {maker} on axis {origin.axis}, and batch "
        f"norm reads channels off axis 1, of length {shape[1]}"
    )


RULE = Rule(
    code="BN404",
    name="wrong-axis",
    severity="E",
    severities=("E", "I"),
    needs="G",
    find=find,
    flags="The features that a layer made do not lie on axis 1, where batch norm reads its "
    "channels. An error for a linear, embedding or batch-first recurrent or attention layer or "
    "layer norm before BatchNorm1d on 3-D input without a permute between; suspected, an info, "
    "where axes were permuted, a reshape was used as a transpose, or the input has more axes.",
    why="BatchNorm1d takes (N, C, L). Of (N, L, features) it takes the positions for channels: it "
    "runs where L happens to be num_features, gives each position statistics of its own and mixes "
    "the features, and fails for another length.",
    fine="Where statistics per position are meant, and all inputs have the same length.",
    before="""
x = embedding(tokens)  # (N, L, 64)
x = nn.BatchNorm1d(L)(x)
""",
    after="""
x = embedding(tokens)  # (N, L, 64)
x = nn.BatchNorm1d(64)(x.transpose(1, 2)).transpose(1, 2)
""",
    remedy="Transpose the input so that the features lie on axis 1, and back afterwards.",
    source="torch.nn.BatchNorm1d: input (N, C) or (N, C, L).",
)
