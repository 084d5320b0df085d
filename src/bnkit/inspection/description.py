"""`describe`: every normalization layer of a model as a row, with totals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from torch import nn

from bnkit.errors import CheckError
from bnkit.inspection.facts.graph import CallFacts, GraphFacts
from bnkit.inspection.facts.model import LayerFacts, ModelFacts
from bnkit.inspection.read_graph import read_graph
from bnkit.inspection.trace import Example, refuse_uninitialized
from bnkit.inspection.walk import walk

# Layers whose class has a momentum, whether they track statistics or not.
_WITH_MOMENTUM = ("batch", "sync", "instance")


@dataclass(frozen=True)
class DescribedLayer:
    """One normalization layer.

    Attributes:
        path: its path; empty if it is the model itself.
        kind: its class, such as "BatchNorm2d".
        channels: C; None where the layer has none.
        parameters: numbers that it is described by: γ, β, running mean and running variance of C
            values each, as far as it has them, plus eps and momentum: 4·C + 2 for a plain batch
            norm.
        learnable: how many of them gradients train.
        mode: "training" or "eval".
        normalizes_by: "batch" or "running statistics" in that mode, "sample" for layers that
            never look at the batch.
        calls: how often it ran on the example; None without an example.
        values_per_channel: m of each call, as "N×49", where N is the batch; without repetitions.
            None without an example, and for layers without channels on the second axis.
        share: γ and β as a part of the model's parameters, 0 to 1.
        activation_bytes: bytes of what it put out on the example; None without one, and, as are
            calls and m, for layers that somebody wrote without a class of torch's.
    """

    path: str
    kind: str
    channels: int | None
    parameters: int
    learnable: int
    mode: str
    normalizes_by: str
    calls: int | None
    values_per_channel: tuple[str, ...] | None
    share: float
    activation_bytes: int | None


@dataclass(frozen=True)
class Description:
    """All normalization layers of a model.

    Attributes:
        target: what was described, as the user named it; else the model's class.
        layers: in the order of `named_modules`; a shared one once.
        model_parameters: values of all parameters of the model, each once.
        example_size: N of the example; None without one.
    """

    target: str
    layers: tuple[DescribedLayer, ...]
    model_parameters: int
    example_size: int | None = None

    @cached_property
    def totals(self) -> Mapping[str, Any]:
        """Sums over the layers: layers, channels, parameters, learnable, share and bytes."""
        sizes = [n for found in self.layers if (n := found.activation_bytes) is not None]
        return {
            "layers": len(self.layers),
            "channels": sum(found.channels or 0 for found in self.layers),
            "parameters": sum(found.parameters for found in self.layers),
            "learnable": sum(found.learnable for found in self.layers),
            "share": sum(found.share for found in self.layers),
            "activation_bytes": sum(sizes) if sizes else None,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the description as JSON-able data."""
        return asdict(self) | {"totals": dict(self.totals)}

    def to_json(self) -> str:
        """Return the description for programs."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    def to_text(self) -> str:
        """Return the description as a table for people."""
        from bnkit.inspection.description_text import description_text

        return description_text(self)

    def to_html(self) -> str:
        """Return the description as a page: one HTML file that opens offline."""
        from bnkit.inspection.description_html import description_page

        return description_page(self)

    def _repr_html_(self) -> str:
        from bnkit.inspection.description_html import description_fragment

        return description_fragment(self)

    def __str__(self) -> str:
        return self.to_text()


def describe(
    model: nn.Module, example_args: Example | None = None, *, target: str = ""
) -> Description:
    """Describe every normalization layer of a model; the model is left as it was.

    Args:
        model: any module.
        example_args: what one forward takes: a tensor, positional arguments in a tuple or list, or
            keywords in a mapping. Without it there is no m and there are no activation bytes.
        target: how the model is to be called.

    Raises:
        CheckError: the model is no module.
        ForwardError: the model's forward raised; the layer is named.
        RewriteError: parameters or buffers are uninitialized.

    Cost: a walk over the modules; with an example one forward and a copy of the model while it
    runs.
    """
    if not isinstance(model, nn.Module):
        raise CheckError(f"model is a {type(model).__name__}", required="a torch.nn.Module")
    refuse_uninitialized(model)
    facts = walk(model)
    graph = None
    if example_args is not None:
        graph, _ = read_graph(model, example_args, on_real_data=False)
    total = sum(parameter.size for parameter in facts.parameters)
    return Description(
        target or facts.type_name,
        tuple(_described(layer, facts, graph, total) for layer in facts.norms),
        total,
        None if graph is None else graph.example_size,
    )


def _described(
    layer: LayerFacts, facts: ModelFacts, graph: GraphFacts | None, total: int
) -> DescribedLayer:
    module = facts.module(layer.path)
    names = module.parameters.values() if module is not None else ()
    held = [found for name in names if (found := facts.parameter(name)) is not None]
    own = sum(parameter.size for parameter in held)
    calls = _calls(layer, graph)
    return DescribedLayer(
        path=layer.path,
        kind=layer.type_name,
        channels=layer.channels,
        parameters=_numbers(layer),
        learnable=sum(parameter.size for parameter in held if parameter.requires_grad),
        mode="training" if layer.training else "eval",
        normalizes_by=_normalizes_by(layer),
        calls=None if calls is None else len(calls),
        values_per_channel=_values_per_channel(layer, graph),
        share=own / total if total else 0.0,
        activation_bytes=None
        if calls is None
        else sum(form.bytes for call in calls for form in call.outputs),
    )


def _calls(layer: LayerFacts, graph: GraphFacts | None) -> tuple[CallFacts, ...] | None:
    if graph is None:
        return None
    calls = graph.calls_of.get(layer.path, ())
    # A trace sees what somebody's own layer does inside, and not the layer.
    is_seen_inside = not calls and any(call.inside == layer.path for call in graph.calls)
    return None if is_seen_inside else calls


def _numbers(layer: LayerFacts) -> int:
    """Return γ, β and running statistics, value by value, plus eps and momentum."""
    tensors = (layer.weight, layer.bias, layer.running_mean, layer.running_var)
    values = 0
    for tensor in tensors:
        if tensor is not None:
            size = 1
            for axis in tensor.shape:
                size *= axis
            values += size
    return values + (2 if layer.kind in _WITH_MOMENTUM else 1)


def _normalizes_by(layer: LayerFacts) -> str:
    if layer.kind == "frozen":
        return "running statistics"
    if not layer.is_batch_norm:
        is_tracking = layer.kind == "instance" and layer.has_statistics and not layer.training
        return "running statistics" if is_tracking else "sample"
    return "batch" if layer.training or not layer.has_statistics else "running statistics"


def _values_per_channel(layer: LayerFacts, graph: GraphFacts | None) -> tuple[str, ...] | None:
    calls = _calls(layer, graph)
    if graph is None or calls is None or not layer.is_batch_norm:
        return None
    found: dict[str, None] = {}
    for call in calls:
        m, n = call.values_per_channel, graph.example_size
        found[f"N×{m // n}" if n and m % n == 0 else str(m)] = None
    return tuple(found)
