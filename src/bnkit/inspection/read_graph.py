"""A trace → facts about it: who feeds whom, and what went into each batch norm."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bnkit.inspection.facts.data import ForwardFacts, InputValues
from bnkit.inspection.facts.graph import CallFacts, GraphFacts
from bnkit.inspection.families import function_family, module_family
from bnkit.inspection.recorder import Call, Trace
from bnkit.inspection.trace import Example, trace_or_explain


def read_graph(
    model: nn.Module, example: Example, *, on_real_data: bool
) -> tuple[GraphFacts, ForwardFacts | None]:
    """Run one forward in eval mode and return what it showed.

    Args:
        model: left as it was, also when forward raises.
        example: what its forward takes.
        on_real_data: whether the example is a batch of the user's data: only then are the values
            that went into batch norms of any meaning, and are returned.

    Raises:
        ForwardError: the forward raised.

    Cost: one forward, and a copy of the model while it runs.
    """
    watched = trace_or_explain(model, example, observe=_input_values if on_real_data else None)
    graph = GraphFacts(
        calls=tuple(_call(number, call) for number, call in enumerate(watched.calls)),
        output_sources=tuple(watched.output_sources),
        example_size=watched.example_size,
        on_real_data=on_real_data,
    )
    return graph, _forward(watched) if on_real_data else None


def _call(number: int, call: Call) -> CallFacts:
    family = function_family(call.name) if call.module is None else module_family(call.module)
    return CallFacts(
        number=number,
        name=call.name,
        is_module=call.module is not None,
        family=family,
        inside=call.inside,
        sources=call.sources,
        has_unseen_source=call.has_unseen_source,
        inputs=call.inputs,
        outputs=call.outputs,
        options=call.options,
        held=call.held,
    )


def _forward(watched: Trace) -> ForwardFacts:
    inputs = []
    for number in sorted(watched.observed):
        values = watched.observed[number]
        assert isinstance(values, dict)
        inputs.append(InputValues(call=number, **values))
    return ForwardFacts(watched.example_size or 0, tuple(inputs))


def _input_values(place: str, x: Tensor) -> dict[str, object] | None:
    """Return the fields of `InputValues` for the input of a batch norm."""
    if x.dim() < 2 or x.numel() == 0:
        return None
    by_channel = x.detach().transpose(0, 1).flatten(1).double()
    var, mean = torch.var_mean(by_channel, 1, correction=0)
    tails = _trailing_constant(x) if x.dim() > 2 else ()
    return {
        "layer": place,
        "count": by_channel.shape[1],
        "mean": tuple(mean.tolist()),
        "var": tuple(var.tolist()),
        "minimum": tuple(by_channel.amin(1).tolist()),
        "maximum": tuple(by_channel.amax(1).tolist()),
        "length": x.shape[-1] if x.dim() > 2 else 0,
        "trailing_constant": tails,
    }


def _trailing_constant(x: Tensor) -> tuple[int, ...]:
    """Return per sample how many positions at the end of the last axis equal the last one."""
    equal = (x == x[..., -1:]).flatten(1, -2).all(1)
    # Counted from the end up to the first position that differs.
    return tuple(equal.flip(-1).long().cumprod(-1).sum(-1).tolist())
