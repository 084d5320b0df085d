"""BN401 redundant-bias: a bias that the next batch norm subtracts again."""

from __future__ import annotations

from collections.abc import Iterator

from bnkit.inspection.facts.graph import CallFacts, GraphFacts
from bnkit.inspection.facts.whole import Facts
from bnkit.rules.rule import EXACT, Finding, Rule
from bnkit.rules.wording import listed

_FAMILIES = ("conv", "conv-transpose", "linear")


def find(facts: Facts) -> Iterator[Finding]:
    """Look for conv and linear layers whose every output goes to batch norms and nowhere else."""
    graph = facts.graph
    assert graph is not None
    for path, calls in graph.calls_of.items():
        module = facts.model.module(path)
        if module is None or module.family not in _FAMILIES or not module.has_bias:
            continue
        if not all(_feeds_only_norms(facts, graph, call) for call in calls):
            continue
        bias = facts.model.parameter(module.parameters["bias"])
        if bias is None or len(bias.names) > len(module.paths) or module.hooks:
            continue  # the bias is another module's too, or a hook reads the output
        takers = [taker.name for call in calls for taker in graph.takers[call.number]]
        norms = listed(list(dict.fromkeys(takers)))
        yield RULE.finding(
            path,
            f"its bias of {bias.size} values is taken out again by {norms}",
        )


def _feeds_only_norms(facts: Facts, graph: GraphFacts, call: CallFacts) -> bool:
    takers = graph.takers.get(call.number, ())
    if not takers or graph.is_output(call) or len(call.outputs) != 1:
        return False
    # The bias lies on the second axis, where a batch norm subtracts; a linear layer's on the last.
    rank = len(call.outputs[0].shape)
    if rank < 2 or (call.family == "linear" and rank != 2):
        return False
    for taker in takers:
        layer = facts.norm_of(taker)
        if layer is None or not layer.is_batch_norm or taker.sources[:1] != (call.number,):
            return False
        if taker.sources.count(call.number) > 1:
            return False  # it is the residual too
    return True


RULE = Rule(
    code="BN401",
    name="redundant-bias",
    severity="I",
    needs="G",
    find=find,
    flags="The output of a conv or linear layer with a bias goes to batch norms and nowhere else.",
    why="Batch norm subtracts the mean, so a constant added per channel changes nothing in "
    "training: the bias gets no gradient but weight decay, and costs memory and a pass.",
    fine="It is harmless. Published VGG and Inception models have such biases; keep them where a "
    "checkpoint must load.",
    before="""
nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64))
""",
    after="""
nn.Sequential(nn.Conv2d(3, 64, 3, bias=False), nn.BatchNorm2d(64))
""",
    remedy="Drop the bias, and subtract it from the batch norm's running_mean.",
    safety=EXACT,
    source="Ioffe and Szegedy 2015, section 3.2: “the bias b can be ignored”.",
)
