"""Insert batch norms after a network's conv and linear layers."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from torch import nn
from torch.nn.utils.parametrize import is_parametrized

import bnkit.layers as ours
from bnkit.errors import ArgumentError, ArgumentTypeError, RewriteError, did_you_mean
from bnkit.inspection.preserve import preserve
from bnkit.inspection.trace import Example, Trace, refuse_uninitialized, trace
from bnkit.rewrite.conversion.insertion_places import (
    BEFORE,
    WHERES,
    Place,
    find_places,
    is_insertable,
)
from bnkit.rewrite.double_trace import DoubleTrace, trace_as_given
from bnkit.rewrite.edits import Edits, rewriting
from bnkit.rewrite.layer_choice import Patterns, chosen_layers
from bnkit.rewrite.optimizer_groups import OptimizerGroups, groups_of
from bnkit.rewrite.output_check import OutputCheck
from bnkit.rewrite.result import Rewrite

_LAYERS: dict[str, dict[int, type[nn.Module]]] = {
    "bnkit": {1: ours.BatchNorm1d, 2: ours.BatchNorm2d, 3: ours.BatchNorm3d},
    "torch": {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d},
}
_INITIAL = (
    "the inserted statistics are initial, mean 0 and variance 1: train the network, or "
    "re-estimate them, before it is used in eval mode"
)


def insert(
    model: nn.Module,
    example_args: Example,
    *,
    after: Patterns | None = None,
    where: str = "before-activation",
    kind: str = "bnkit",
    drop_bias: bool = True,
    optimizer: Any = None,
    inplace: bool = False,
) -> Rewrite:
    """Insert batch norms after conv and linear layers.

    A layer, or the activation module that alone takes its output, is put into a `Sequential` with
    the batch norm, so keys change: `conv.weight` becomes `conv.layer.weight`, beside it stand
    `conv.norm.weight` and so on. γ starts at 1, β at 0, the statistics at mean 0 and variance 1.

    Directly behind a layer a batch norm subtracts the layer's bias again and β does its work, so
    the bias is dropped. Behind an activation it is kept.

    No batch norm is inserted after a layer that feeds one already, through activations, pooling,
    additions and reshaping too; that runs several times in a forward; whose weight a function
    reads; or whose output has its channels elsewhere than on the second axis. Nor, unless `after`
    names it, after a layer that makes the network's output. `.skipped` says which and why.

    Args:
        model: any network with conv or linear layers.
        example_args: the input of one forward: a tensor, positional arguments in a tuple or list,
            or keyword arguments in a mapping. Ranks and channels are read from its run.
        after: paths or patterns of conv and linear layers, such as "features.*"; None for all.
        where: "before-activation", directly behind the layer; or "after-activation", behind the
            activation module that takes the layer's output.
        kind: "bnkit" or "torch": whose batch norms.
        drop_bias: drop the bias that a batch norm directly behind it makes redundant.
        optimizer: one that holds the model's parameters, with `inplace`: γ and β join the group of
            the layer's weight, a dropped bias leaves, and names that it keeps become the new ones.
        inplace: change the model itself and not a copy.

    Returns:
        The rewrite; `.difference` is measured in eval mode on the example, and is not small: the
        network computes something else, and has to be trained.

    Raises:
        ArgumentTypeError: `model` is no module.
        ArgumentError: no such `where` or `kind`.
        RewriteError: there is no conv or linear layer, or a pattern names none; parameters are
            uninitialized; an optimizer is given without `inplace`, or holds none of the layers'
            weights; the network does not run on the example, before or after; an inserted batch
            norm did not run. The model is then as it was.

    Cost: six forwards, and a copy of the model unless `inplace`.
    """
    _check_names(model, where, kind)
    refuse_uninitialized(model)
    layers = chosen_layers(model, after, is_insertable, "conv or linear layer")
    held = groups_of(optimizer, inplace=inplace)
    if held is not None:
        _refuse_stranger(held, layers)
    before = trace_as_given(model, example_args)
    places, reasons = find_places(layers, before.traces, where, named=after is not None)
    with rewriting("insert", model, inplace=inplace) as edits, ExitStack() as kept:
        # Where a closure was not copied, the original runs.
        if edits.model is not model:
            kept.enter_context(preserve(model))
        output = OutputCheck(model, example_args, ["eval"])
        for path, reason in reasons.items():
            edits.skipped(path, f"no batch norm inserted, because {reason}")
        norms = {
            place.layer: _insert(edits, place, where, kind, held, drop_bias=drop_bias)
            for place in places
        }
        _check(edits, norms, before, example_args)
        output.measure(edits.rewrite)
        if norms:
            edits.rewrite.notes.append(_INITIAL)
    return edits.rewrite


def _check_names(model: Any, where: Any, kind: Any) -> None:
    if not isinstance(model, nn.Module):
        raise ArgumentTypeError(
            f"model is a {type(model).__name__}", required="a network, a torch.nn.Module"
        )
    for name, value, known in (("where", where, WHERES), ("kind", kind, tuple(_LAYERS))):
        if not isinstance(value, str) or value not in known:
            raise ArgumentError(
                f"got {name}={value!r}",
                required=f"one of {', '.join(known)}",
                remedy=did_you_mean(value, known) if isinstance(value, str) else "",
            )


def _refuse_stranger(held: OptimizerGroups, layers: dict[str, nn.Module]) -> None:
    parameters = [p for layer in layers.values() for p in layer.parameters()]
    if all(held.group_of(parameter) is None for parameter in parameters):
        raise RewriteError(
            "the optimizer holds none of the parameters of the layers to insert after",
            required="the optimizer that trains this model",
            remedy="Build it from model.parameters(), or leave out optimizer",
        )


def _insert(
    edits: Edits,
    place: Place,
    where: str,
    kind: str,
    held: OptimizerGroups | None,
    *,
    drop_bias: bool,
) -> nn.Module:
    layer = edits.model.get_submodule(place.layer)
    behind = edits.model.get_submodule(place.behind)
    like = next(parameter for parameter in layer.parameters() if parameter.is_floating_point())
    norm = _LAYERS[kind][place.axes](place.channels, dtype=like.dtype, device=like.device)
    norm.train(layer.training)
    what = f"{kind}'s {type(norm).__name__} inserted behind it"
    if where == BEFORE:
        if drop_bias:
            what += _drop_bias(edits, place.layer, layer, held)
        parts = {"layer": None, "norm": norm}
    else:
        what = f"{kind}'s {type(norm).__name__} inserted behind its activation {place.behind}"
        parts = {"activation": None, "norm": norm}
    former = {f"{place.behind}.{name}": p for name, p in behind.named_parameters()}
    edits.put_around(behind, parts)
    if held is not None:
        path = edits.path(behind)
        for name, parameter in former.items():
            new = f"{path}{name.removeprefix(place.behind)}"
            edits.also_undo(held.rename(parameter, name.removeprefix("."), new))
    edits.changed(place.layer, what)
    if held is not None:
        if held.group_of(like) is None:
            edits.skipped(
                place.layer,
                "the batch norm behind it joined no group: the optimizer does not "
                "hold the layer's weight",
            )
        else:
            for name, parameter in norm.named_parameters():
                edits.also_undo(held.join(parameter, like, f"{edits.path(norm)}.{name}"))
    return norm


def _drop_bias(edits: Edits, path: str, layer: nn.Module, held: OptimizerGroups | None) -> str:
    """Drop a layer's bias if that can be done; return what is to be said of it."""
    bias = layer._parameters.get("bias")
    if bias is None:
        if is_parametrized(layer, "bias"):
            edits.skipped(path, "its bias is kept although it is redundant: it is parametrized")
        return ""
    edits.set_parameter(layer, "bias", None)
    used = any(bias is parameter for parameter in edits.model.parameters())
    if held is not None and not used and held.group_of(bias) is not None:
        edits.also_undo(held.drop(bias))
    return ", its bias dropped, because β does its work"


def _check(
    edits: Edits, norms: dict[str, nn.Module], before: DoubleTrace, example: Example
) -> None:
    """Run the changed network in the modes in which it ran, and see every inserted layer run."""
    if not norms:
        return
    try:
        traces: list[Trace] = [trace(edits.model, example)]
        if before.training is not None:
            traces.append(trace(edits.model, example, training=True))
    except Exception as error:
        raise RewriteError(
            f"with batch norms inserted the network raised {type(error).__name__}: {error}",
            required="the network must do nothing with the layers but call them: each stands in a "
            "Sequential now",
            remedy="Leave out, by after=, the layers whose attributes its code reads",
        ) from error
    ran = {id(call.module) for watched in traces for call in watched.calls}
    for path, norm in norms.items():
        if id(norm) not in ran:
            raise RewriteError(
                "was put into a Sequential with a batch norm, which does not run",
                required="a layer may be held by its parent module alone, and not also by a plain "
                "list, a dict or a function",
                remedy="Call it as an attribute of its module, or leave it out by after=",
                where=path,
            )
