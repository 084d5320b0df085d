"""BN408 recurrent-use: one set of statistics for all time steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bnkit.inspection.facts.graph import CallFacts, GraphFacts
from bnkit.inspection.facts.whole import Facts
from bnkit.rules.rule import Finding, Rule


def find(facts: Facts) -> Iterator[Finding]:
    """Look for layers one of whose calls feeds a later one."""
    graph = facts.graph
    assert graph is not None
    calls: dict[tuple[str, tuple[str, ...]], list[CallFacts]] = {}
    for call in graph.norm_calls:
        if facts.uses_running_statistics(call):
            calls.setdefault(_layer(call), []).append(call)
    for (place, _), found in calls.items():
        if _feeds_itself(graph, found):
            yield RULE.finding(
                place,
                f"it runs {len(found)} times in a forward and what it puts out comes back to it: "
                "one set of statistics for all of the steps",
            )


def _layer(call: CallFacts) -> tuple[str, tuple[str, ...]]:
    """Return what a call is of: the path, and of a function what it was given of the model's."""
    return call.place, () if call.is_module else call.held[1:]


def _feeds_itself(graph: GraphFacts, calls: Sequence[CallFacts]) -> bool:
    own = {call.number for call in calls}
    return any(
        source.number in own
        for call in calls[1:]
        for source in graph.upstream(call, lambda other: other.number in own)
    )


RULE = Rule(
    code="BN408",
    name="recurrent-use",
    severity="W",
    needs="G",
    find=find,
    flags="A batch norm runs several times in one forward, and an output of one call reaches an "
    "input of a later one: a layer inside a recurrence.",
    why="The distribution of a hidden state changes with the step, most over the first ones. One "
    "running mean for all of them fits none, so eval mode normalizes each step by numbers that it "
    "never had in training; and gradients run through the statistics of every step.",
    fine="Where the steps are alike, as in a network that iterates to a fixed point, and eval "
    "accuracy shows it.",
    before="""
class Cell(nn.Module):
    def forward(self, inputs, hidden):
        for x in inputs:
            hidden = torch.tanh(self.norm(self.weight(x) + self.recurrent(hidden)))
        return hidden
""",
    after="""
class Cell(nn.Module):
    def forward(self, inputs, hidden):
        for x in inputs:
            hidden = torch.tanh(self.layer_norm(self.weight(x) + self.recurrent(hidden)))
        return hidden
""",
    remedy="Use layer norm, or statistics of its own for each time step.",
    source="Cooijmans et al. 2017, “Recurrent Batch Normalization”, section 3; Ba et al. 2016, "
    "“Layer Normalization”.",
)
