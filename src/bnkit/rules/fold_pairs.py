"""Batch norms beside a linear map: which pairs a fold may make one layer of, and which it may not.

What BN701, BN702 and BN704 share.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bnkit.inspection.facts.graph import CallFacts, GraphFacts
from bnkit.inspection.facts.model import LayerFacts, ModuleFacts
from bnkit.inspection.facts.whole import Facts
from bnkit.rules.wording import listed

# Layers of bnkit that do no more than torch's.
PLAIN_LAYERS = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm")
LINEAR_MAPS = ("conv", "conv-transpose", "linear")


@dataclass(frozen=True)
class FoldPair:
    """A batch norm and the conv or linear layer directly before or after it.

    Attributes:
        norm, linear: their calls.
        layer, module: what was called.
        is_after: whether the batch norm comes after the linear map.
        obstacles: why a fold would be wrong, as clauses; empty if it is right.
    """

    norm: CallFacts
    linear: CallFacts
    layer: LayerFacts
    module: ModuleFacts
    is_after: bool
    obstacles: tuple[str, ...]


def fold_pairs(facts: Facts) -> Iterator[FoldPair]:
    """Yield each batch norm that stands directly after, else directly before, a linear map."""
    graph = facts.graph
    assert graph is not None
    seen: set[str] = set()
    for norm in graph.norm_calls:
        layer = facts.norm_of(norm)
        if layer is None or layer.path in seen or _is_fused(layer):
            continue
        before = graph.source(norm)
        is_after = before is not None and _linear_map(facts, before) is not None
        linear = before if is_after else _next_map(facts, graph, norm)
        module = None if linear is None else _linear_map(facts, linear)
        if linear is None or module is None:
            continue
        seen.add(layer.path)
        first, second = (linear, norm) if is_after else (norm, linear)
        obstacles = [*_of_layers(facts, graph, layer, module), *_other_ways(graph, first, second)]
        obstacles += _of_axes(linear) if is_after else _of_order(linear, module)
        yield FoldPair(norm, linear, layer, module, is_after, tuple(obstacles))


def _is_fused(layer: LayerFacts) -> bool:
    """Return whether it is a layer of bnkit's that does more: what it does stays after a fold."""
    return layer.home.startswith("bnkit.") and layer.type_name not in PLAIN_LAYERS


def _linear_map(facts: Facts, call: CallFacts) -> ModuleFacts | None:
    if not call.is_module or call.family not in LINEAR_MAPS or len(call.outputs) != 1:
        return None
    module = facts.model.module(call.name)
    return None if module is None or module.type_name == "Bilinear" else module


def _next_map(facts: Facts, graph: GraphFacts, norm: CallFacts) -> CallFacts | None:
    for taker in graph.takers.get(norm.number, ()):
        if taker.sources[:1] == (norm.number,) and _linear_map(facts, taker) is not None:
            return taker
    return None


def _of_layers(
    facts: Facts, graph: GraphFacts, layer: LayerFacts, module: ModuleFacts
) -> Iterator[str]:
    """Yield what is in the way whatever the order of the two."""
    for path, held in ((module.path, module), (layer.path, layer)):
        times = len(graph.calls_of[path])
        if times > 1:
            yield f"{path} is shared: it runs {times} times in a forward"
        if held.hooks:
            yield f"{path} has a {listed(held.hooks)} hook"
        if held.parametrized:
            yield f"{listed(held.parametrized)} of {path} is parametrized"
    if module.has_own_forward:
        yield f"{module.path} is a {module.type_name}, with a forward of its own"
    if layer.has_own_forward or layer.children:
        yield f"it is a {layer.type_name}, which does more than normalize"
    if not layer.has_statistics:
        yield "it has no running statistics, so it normalizes by the batch in eval mode too"
    for key, name in module.parameters.items():
        yield from _ties(facts, graph, module, key, name)


def _ties(
    facts: Facts, graph: GraphFacts, module: ModuleFacts, key: str, name: str
) -> Iterator[str]:
    parameter = facts.model.parameter(name)
    if parameter is None:
        return
    called = f"{key} of {module.path}"
    own = {f"{path}.{key}" if path else key for path in module.paths for key in module.parameters}
    others = [other for other in parameter.names if other not in own]
    if others:
        yield f"{called} is tied to {listed(others)}"
    takers = [call for call in graph.calls if name in call.held]
    if takers:
        yield f"{called} is also used by {takers[0].function or takers[0].name}"


def _other_ways(graph: GraphFacts, first: CallFacts, second: CallFacts) -> Iterator[str]:
    """Yield where the output of the first goes beside into the second."""
    others = [
        taker.function or taker.name
        for taker in graph.takers.get(first.number, ())
        if taker.number != second.number and taker.name != second.name
    ]
    if others:
        yield f"the output of {first.name} also goes to {listed(list(dict.fromkeys(others)))}"
    if graph.is_output(first):
        yield f"the output of {first.name} is returned too"
    if second.sources.count(first.number) > 1:
        yield f"{second.name} takes the output of {first.name} twice"


def _of_axes(linear: CallFacts) -> Iterator[str]:
    """Yield that a linear layer's channels lie on the last axis and batch norm's on the second."""
    shape = linear.outputs[0].shape
    if linear.family == "linear" and len(shape) > 2:
        yield (
            f"its input has shape {shape}: the channels of {linear.name} lie on the last axis, "
            "those of batch norm on the second"
        )


def _of_order(linear: CallFacts, module: ModuleFacts) -> Iterator[str]:
    """Yield why β does not pass through the linear map that comes after it."""
    if linear.family == "linear":
        yield from _of_axes(linear)
    elif linear.family == "conv-transpose":
        yield f"{linear.name} is transposed, so fewer of its taps see β at the border"
    elif pads_zeros(module):
        yield (
            f"{linear.name} after it pads with zeros, where the batch norm's output is "
            "β − γ·mean/σ: inside the fold is exact, on the border it is not"
        )


def pads_zeros(module: ModuleFacts) -> bool:
    """Return whether a conv pads with zeros."""
    padding = module.options.get("padding", 0)
    if module.options.get("padding_mode", "zeros") != "zeros":
        return False
    if padding == "same":
        kernel = module.options.get("kernel_size", 1)
        sizes = kernel if isinstance(kernel, tuple) else (kernel,)
        return any(size != 1 for size in sizes)
    if isinstance(padding, str):
        return False
    return any(padding) if isinstance(padding, tuple) else bool(padding)
