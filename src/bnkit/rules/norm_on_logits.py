"""BN405 norm-on-logits: the model returns what a batch norm made."""

from __future__ import annotations

from collections.abc import Iterator

from bnkit.inspection.facts.graph import CallFacts, GraphFacts
from bnkit.inspection.facts.whole import Facts
from bnkit.rules.rule import Finding, Rule

# What turns logits into probabilities, or only changes their shape.
_FINAL = ("softmax", "log_softmax", "logsoftmax", "sigmoid", "logsigmoid")
_PASSED = ("identity", "reshape")


def find(facts: Facts) -> Iterator[Finding]:
    """Follow each batch norm's output to what the model returns."""
    graph = facts.graph
    assert graph is not None
    seen: set[str] = set()
    for call in graph.norm_calls:
        if call.place not in seen and _is_returned(facts, graph, call):
            seen.add(call.place)
            yield RULE.finding(call.place, "its output is what the model returns")


def _is_returned(facts: Facts, graph: GraphFacts, call: CallFacts) -> bool:
    waiting = [call]
    while waiting:
        passing = waiting.pop()
        if graph.is_output(passing):
            return True
        waiting += [t for t in graph.takers.get(passing.number, ()) if _passes(facts, t)]
    return False


def _passes(facts: Facts, call: CallFacts) -> bool:
    if call.family in _PASSED:
        return True
    module = facts.model.module(call.name) if call.is_module else None
    name = call.function if module is None else module.type_name.lower()
    return name in _FINAL


RULE = Rule(
    code="BN405",
    name="norm-on-logits",
    severity="I",
    needs="G",
    find=find,
    flags="A batch norm's output is the model's, as it is or through a softmax or sigmoid.",
    why="Normalized logits have the spread γ in every batch, however sure the network is, and in "
    "training they depend on the other samples: the loss cannot fall below what that spread "
    "allows until γ has grown.",
    fine="In a backbone or an embedding that is not a classifier's end: face recognition (ArcFace) "
    "and self-supervised heads end in a batch norm on purpose.",
    before="""
nn.Sequential(nn.Linear(64, 10), nn.BatchNorm1d(10))
""",
    after="""
nn.Sequential(nn.BatchNorm1d(64), nn.Linear(64, 10))
""",
    remedy="Put the batch norm before the last linear layer, or leave it out.",
    source="Ioffe and Szegedy 2015, section 3.2: batch norm comes before a nonlinearity; Deng et "
    "al. 2019, “ArcFace”, for the exception.",
)
