"""BN402 redundant-scale: γ directly before a linear map, or two norms in a row."""

from __future__ import annotations

from collections.abc import Iterator

from bnkit.inspection.facts.graph import CallFacts, GraphFacts
from bnkit.inspection.facts.whole import Facts
from bnkit.rules.fold_pairs import LINEAR_MAPS
from bnkit.rules.rule import EVAL_EQUIVALENT, Finding, Rule
from bnkit.rules.wording import listed

_NORMS = ("batch-norm", "norm")
_LINEAR_FUNCTIONS = ("conv1d", "conv2d", "conv3d", "linear")


def find(facts: Facts) -> Iterator[Finding]:
    """Follow each norm's output through what keeps channels apart and linear."""
    graph = facts.graph
    assert graph is not None
    for path, calls in graph.calls_of.items():
        layer = facts.model.layer(path)
        if layer is None or layer.hooks or layer.parametrized or layer.has_own_forward:
            continue
        takers = [_takers(graph, call) for call in calls]
        found = [taker for takers_of_call in takers for taker in takers_of_call]
        if not all(takers) or not found:
            continue
        names = listed(list(dict.fromkeys(taker.function or taker.name for taker in found)))
        if all(_is_second_norm(facts, layer.is_batch_norm, taker) for taker in found):
            yield RULE.finding(path, f"two norms in a row: {names} normalizes its output again")
        elif (
            layer.is_batch_norm
            and layer.weight is not None
            and all(_is_linear_map(facts, graph, taker) for taker in found)
        ):
            yield RULE.finding(
                path,
                f"no nonlinearity comes between it and {names}, whose weights can hold its γ",
            )


def _takers(graph: GraphFacts, call: CallFacts) -> list[CallFacts]:
    """Return the calls that take its output, past dropout and the like; [] if it is returned."""
    found: list[CallFacts] = []
    waiting = [call]
    while waiting:
        passing = waiting.pop()
        takers = graph.takers.get(passing.number, ())
        if not takers or graph.is_output(passing):
            return []
        for taker in takers:
            if taker.family in ("identity", "dropout"):
                waiting.append(taker)
            else:
                found.append(taker)
    return found


def _is_second_norm(facts: Facts, first_is_batch_norm: bool, call: CallFacts) -> bool:
    """Return whether a call is another norm's; a batch norm's is one of the two."""
    if call.family not in _NORMS:
        return False
    if call.family == "batch-norm":
        return True
    layer = facts.norm_of(call)
    return first_is_batch_norm and layer is not None


def _is_linear_map(facts: Facts, graph: GraphFacts, call: CallFacts) -> bool:
    """Return whether a call is a linear map over the channels, whose weights are its alone."""
    if call.family not in LINEAR_MAPS or len(call.inputs) < 1:
        return False
    if call.family == "linear" and len(call.inputs[0].shape) != 2:
        return False  # it maps another axis than the channels
    if not call.is_module:
        return call.function in _LINEAR_FUNCTIONS and not any(
            number is not None for number in call.sources[1:]
        )
    module = facts.model.module(call.name)
    if module is None or "weight" not in module.parameters or module.has_own_forward:
        return False
    weight = facts.model.parameter(module.parameters["weight"])
    is_shared = len(graph.calls_of[call.name]) > 1
    return weight is not None and not is_shared and len(weight.names) == len(module.paths)


RULE = Rule(
    code="BN402",
    name="redundant-scale",
    severity="I",
    needs="G",
    find=find,
    flags="The output of a batch norm goes to conv or linear layers without a nonlinearity "
    "between, or to another normalization.",
    why="A linear map can take γ into its weights, so γ is a second name for the same number, "
    "with a gradient and a decay of its own. Of two norms in a row the second undoes the scale and "
    "the shift of the first.",
    fine="Linear bottlenecks (MobileNetV2) have it by design, and the extra parameter can help "
    "optimization.",
    before="""
nn.Sequential(nn.BatchNorm2d(64), nn.Conv2d(64, 128, 1))
""",
    after="""
nn.Sequential(nn.BatchNorm2d(64, affine=False), nn.Conv2d(64, 128, 1))
""",
    remedy="Merge γ into the weights that follow, for inference with bnkit.fold; of two norms keep "
    "one.",
    safety=EVAL_EQUIVALENT,
    source="Ioffe and Szegedy 2015, section 3.2; Sandler et al. 2018, “MobileNetV2”, for the "
    "exception.",
)
