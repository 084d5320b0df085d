"""A trace → facts about it: who feeds whom, and what went into each batch norm."""

from __future__ import annotations

from functools import partial

from torch import nn

from bnkit.inspection.facts.data import ForwardFacts, InputValues
from bnkit.inspection.facts.graph import CallFacts, GraphFacts
from bnkit.inspection.families import function_family, module_family
from bnkit.inspection.input_values import input_values
from bnkit.inspection.nested_tensors import tensors_in
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
    observe = partial(input_values, samples_in(example)) if on_real_data else None
    watched = trace_or_explain(model, example, observe=observe)
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


def samples_in(example: Example) -> int:
    """Return N of an example: the length of its first tensor that has an axis; 1 without any."""
    return next((len(tensor) for tensor in tensors_in(example) if tensor.dim()), 1)
