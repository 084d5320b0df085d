"""On which axis of each tensor the features lie, as the layers that made it say; for BN404."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bnkit.inspection.facts.graph import CallFacts, GraphFacts
from bnkit.inspection.facts.model import Scalar
from bnkit.inspection.facts.whole import Facts

# Calls that leave every axis where it was.
_KEEPING = {
    *("activation", "dropout", "identity", "add", "mul", "batch-norm", "pool"),
    *("upsample", "padding", "concat", "split"),
}
_LAST_AXIS_NORMS = ("LayerNorm", "RMSNorm", "layer_norm", "rms_norm")


@dataclass(frozen=True)
class Origin:
    """Where the features of a tensor come from.

    Attributes:
        axis: on which axis they lie.
        call: the layer that says so.
        is_permuted: whether axes were swapped since.
        scrambled: the reshape that was taken for a transpose, if one was; axis is then 0.
    """

    axis: int
    call: CallFacts
    is_permuted: bool = False
    scrambled: CallFacts | None = None


def feature_origins(facts: Facts, graph: GraphFacts) -> Mapping[int, Origin]:
    """Return number of a call → where the features of what it made lie; unknown ones are missing.

    Conv layers have them on the second axis; linear, embedding, recurrent and attention layers and
    layer norm on the last, unless the tensor's features are known to lie elsewhere: then they mix
    or normalize another axis on purpose.
    """
    found: dict[int, Origin] = {}
    for call in graph.calls:
        if call.outputs and len(call.outputs[0].shape) > 2:
            origin = _origin(facts, graph, call, found)
            if origin is not None:
                found[call.number] = origin
    return found


def origin_of_input(
    graph: GraphFacts, call: CallFacts, origins: Mapping[int, Origin], place: int = 0
) -> Origin | None:
    """Return where the features of a call's input lie; None if nothing says so."""
    source = call.sources[place] if place < len(call.sources) else None
    if source is None:
        return None
    made = graph.calls[source].outputs  # none by what only writes, such as x[0] = y
    is_same = bool(made) and made[0].shape == call.inputs[place].shape
    return origins.get(source) if is_same else None


def _origin(
    facts: Facts, graph: GraphFacts, call: CallFacts, origins: Mapping[int, Origin]
) -> Origin | None:
    shape = call.outputs[0].shape
    last = len(shape) - 1
    given = origin_of_input(graph, call, origins)
    if call.family in ("conv", "conv-transpose"):
        return Origin(1, call)
    if call.family in ("embedding", "recurrent", "attention"):
        is_sdpa = call.function == "scaled_dot_product_attention"
        return None if is_sdpa else Origin(last, call)
    if _maps_last_axis(facts, call):
        return given if given is not None and given.axis != last else Origin(last, call)
    if call.family in _KEEPING:
        return _kept(graph, call, origins)
    moved = {"permute": _permuted, "reshape": _reshaped}.get(call.family)
    return None if given is None or moved is None else moved(call, given)


def _maps_last_axis(facts: Facts, call: CallFacts) -> bool:
    module = facts.model.module(call.name) if call.is_module else None
    if call.family == "linear":
        return call.is_module or call.function == "linear"
    name = call.function if module is None else module.type_name
    options = call.options if module is None else module.options
    if call.family != "norm" or name not in _LAST_AXIS_NORMS:
        return False
    axes = options.get("normalized_shape", options.get("1"))
    return isinstance(axes, tuple) and len(axes) == 1


def _kept(graph: GraphFacts, call: CallFacts, origins: Mapping[int, Origin]) -> Origin | None:
    """Return what the inputs of the output's rank agree on, broadcast ones left out."""
    rank = len(call.outputs[0].shape)
    is_broadcasting = call.family in ("add", "mul")
    found = []
    for place, form in enumerate(call.inputs):
        fits = form.shape == call.outputs[0].shape if is_broadcasting else len(form.shape) == rank
        origin = origin_of_input(graph, call, origins, place) if fits else None
        if origin is not None:
            found.append(origin)
    if len({origin.axis for origin in found}) != 1:
        return None
    return min(found, key=lambda origin: origin.is_permuted)  # the one that says most


def _permuted(call: CallFacts, given: Origin) -> Origin | None:
    order = _order(call, len(call.outputs[0].shape))
    if order is None or given.scrambled is not None:
        return None
    return replace(given, axis=order.index(given.axis), is_permuted=True)


def _order(call: CallFacts, rank: int) -> Sequence[int] | None:
    """Return the axes of the input in the order of the output; None if the call does not say."""
    axes = [*range(rank)]
    numbers = _numbers(call.options, rank)
    if call.function == "permute":
        return numbers if sorted(numbers) == axes else None
    if call.function in ("mT", "mH", "adjoint"):
        numbers = [rank - 2, rank - 1]
    elif call.function not in ("transpose", "swapaxes", "swapdims", "movedim", "moveaxis"):
        return None
    if len(numbers) != 2:
        return None
    first, second = numbers
    if call.function.startswith("move"):
        axes.insert(second, axes.pop(first))
    else:
        axes[first], axes[second] = axes[second], axes[first]
    return axes


def _numbers(options: Mapping[str, Scalar], rank: int) -> list[int]:
    """Return the axes that a call was given, one by one or in a tuple, none of them negative."""
    found: list[int] = []
    for value in options.values():
        items = value if isinstance(value, tuple) else (value,)
        found += [int(item) % rank for item in items if isinstance(item, int)]
    return found


def _reshaped(call: CallFacts, given: Origin) -> Origin | None:
    """Follow the axis through a reshape that leaves all axes up to it, or from it on, alone."""
    before, after, axis = call.inputs[0].shape, call.outputs[0].shape, given.axis
    if given.scrambled is not None:
        return None
    if before[: axis + 1] == after[: axis + 1]:
        return given
    if before[axis:] == after[axis - len(before) :]:
        return replace(given, axis=axis + len(after) - len(before))
    is_swap = sorted(before) == sorted(after) and before[:1] == after[:1]
    return replace(given, axis=0, scrambled=call) if is_swap and len(before) == len(after) else None
