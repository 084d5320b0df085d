"""Remove batch norm from a network; its feeding layers get the bias that it made redundant."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnkit.errors import RewriteError
from bnkit.inspection.preserve import preserve
from bnkit.inspection.trace import Example, Trace, refuse_uninitialized
from bnkit.layers import BatchNormAct1d, BatchNormAct2d, BatchNormAct3d
from bnkit.rewrite.conversion.feeding_layers import find_feeding
from bnkit.rewrite.double_trace import DoubleTrace, trace_as_changed, trace_as_given
from bnkit.rewrite.edits import Edits, rewriting
from bnkit.rewrite.folding.fold_groups import fold_groups
from bnkit.rewrite.folding.fold_proof import full_precision
from bnkit.rewrite.layer_choice import Patterns, chosen_layers
from bnkit.rewrite.output_difference import largest_difference, relative_difference
from bnkit.rewrite.result import Rewrite
from bnkit.rewrite.rewrite_arguments import refuse_scripted

_REMOVED = "batch norm removed"
_BIAS_ADDED = "bias of zeros added: a batch norm's β did its work"
_HOOKS_DROPPED = "the hooks registered on this batch norm were removed with it"
_BIAS_UNREAD = "feeds a batch norm without a bias, and its forward would not use one"
# What runs when a layer is called.
_CALLED = {"forward", "__call__", "_call_impl"}
_HOOK_TABLES = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def remove(
    model: nn.Module,
    example_args: Example,
    *,
    layers: Patterns | None = None,
    restore_bias: bool = True,
    fold_scale: bool = False,
    inplace: bool = False,
) -> Rewrite:
    """Replace every batch norm, or those that `layers` names, by the identity.

    A batch norm's β does a bias's work, so the conv or linear layers that feed one are usually
    built without a bias. Each of those that has none gets one of zeros, trained if β was; a batch
    norm without β asks for none. Feeding layers are found
    by tracing one run in eval mode and one in training mode: from the batch norm's input backwards
    through everything that applies no weights (activations, pooling, additions, reshaping). What
    feeds a batch norm and can be given no bias is listed in `.skipped`, as is a batch norm that
    never ran.

    With `fold_scale` what a batch norm does in eval mode first goes into the conv or linear layer
    beside it, as `fold` does it and proves it. Where that is not exact the batch norm is removed
    all the same, and `.skipped` says why nothing was folded. If everything was folded, the network
    gives in eval mode what it gave.

    Of a `BatchNormAct` the addition and the activation stay.

    Args:
        model: any network with at least one batch norm.
        example_args: the input of one forward: a tensor, positional arguments in a tuple or list,
            or keyword arguments in a mapping.
        layers: paths or patterns of the batch norms to remove, such as "layer1.*"; None for all.
        restore_bias: give feeding layers the bias of zeros; else they stay without.
        fold_scale: fold the batch norms' scale and shift into the layers beside them.
        inplace: change the model itself and not a copy.

    Returns:
        The rewrite; `.difference` is measured in eval mode on the example.

    Raises:
        RewriteError: there is no batch norm, or none that a pattern names; a batch norm is a
            subclass with a forward of its own, whose extra behaviour the identity would drop; one
            is called as a function, or still runs afterwards, because something else than its
            parent module holds it; parameters are uninitialized; a part is TorchScript; the network
            does not run on the example, before or after, or returns other shapes after; what was
            folded changed the output by more than rounding. The model is then as it was.

    Cost: four forwards, and a copy of the model unless `inplace`; with `fold_scale` also what
    `fold` costs.
    """
    refuse_uninitialized(model)
    norms = _chosen(model, layers)
    _refuse_unprovable(model, norms)
    before = trace_as_given(model, example_args)
    _refuse_functional(before.traces)
    feeding = find_feeding(norms, before.traces, before.training_error)
    biased = feeding.paths if restore_bias else {}
    with rewriting("remove", model, inplace=inplace) as edits, ExitStack() as kept:
        # Where a closure was not copied, the original runs.
        if edits.model is not model:
            kept.enter_context(preserve(model))
        edits.rewrite.skipped += feeding.skipped
        for path, layer in norms.items():
            if _has_hooks(layer):
                edits.skipped(path, _HOOKS_DROPPED)
        if fold_scale:
            _fold(edits, model, example_args, before, {id(layer) for layer in norms.values()})
        _remove_and_check(edits, norms, biased, before, example_args)
    return edits.rewrite


def _chosen(model: nn.Module, layers: Patterns | None) -> dict[str, _BatchNorm]:
    """Return path → batch norm for those to be removed, shared ones under each of their paths."""
    norms = batch_norm_paths(model)
    if layers is None or not norms:
        return norms
    named = chosen_layers(model, layers, lambda m: isinstance(m, _BatchNorm), "batch norm")
    chosen = {id(layer) for layer in named.values()}
    return {path: layer for path, layer in norms.items() if id(layer) in chosen}


def batch_norm_paths(model: nn.Module) -> dict[str, _BatchNorm]:
    """Return path → layer for every batch norm, shared ones under each of their paths."""
    return {
        path: module
        for path, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, _BatchNorm)
    }


def _refuse_unprovable(model: nn.Module, norms: dict[str, _BatchNorm]) -> None:
    refuse_scripted(model, "a trace cannot look into it, so a batch norm in it could be missed")
    if not norms:
        raise RewriteError(
            "the network has no batch norm",
            required="at least one torch.nn.BatchNorm1d, 2d or 3d, or a subclass",
        )
    for path, layer in norms.items():
        _refuse_own_behaviour(path, layer)


def _refuse_own_behaviour(path: str, layer: _BatchNorm) -> None:
    replaced = sorted(_CALLED & vars(layer).keys())
    if replaced:
        raise RewriteError(
            f"has {' and '.join(replaced)} replaced on the object",
            required="removing it would also drop what that adds, such as an activation",
            remedy="Split it into a plain batch norm and the rest",
            where=path or "(model)",
        )
    home = type(layer).__module__
    if home.startswith(("torch.nn.", "bnkit.")):
        return
    is_called_alike = all(
        getattr(type(layer), name) is getattr(_BatchNorm, name) for name in _CALLED
    )
    if is_called_alike and not any(layer.children()):
        return
    raise RewriteError(
        f"is a {type(layer).__name__}, a batch norm with a forward of its own",
        required="removing it would also drop what that forward adds, such as an activation",
        remedy="Split it into a plain batch norm and the rest",
        where=path or "(model)",
    )


def _refuse_functional(traces: Iterable[Trace]) -> None:
    for watched in traces:
        for call in watched.calls:
            if call.module is None and "batch_norm" in call.name:
                raise RewriteError(
                    f"calls batch norm as a function, {call.name}",
                    required="a batch norm can be removed where it is a registered submodule that "
                    "is called",
                    remedy="Use torch.nn.BatchNorm1d, 2d or 3d there, register it as an attribute "
                    "of its module, and call it, not its forward",
                    where=call.inside or "(model)",
                )


def _has_hooks(layer: nn.Module) -> bool:
    return any(getattr(layer, table) for table in _HOOK_TABLES)


def _fold(
    edits: Edits, model: nn.Module, example: Example, runs: DoubleTrace, chosen: set[int]
) -> None:
    """Fold the batch norms that can be, and say why the others are removed without that."""
    with full_precision():
        done = fold_groups(edits, model, example, runs, chosen=chosen, any_mode=True)
    for path, folded in done.proved.items():
        for norm in folded.group.norms:
            edits.changed(norm, f"its scale and shift folded into {path}")
    for path, reason in done.plan.reasons.items():
        edits.skipped(path, f"removed without folding its scale, because {reason}")


def _remove_and_check(
    edits: Edits,
    norms: dict[str, _BatchNorm],
    feeding: dict[str, bool],
    before: DoubleTrace,
    example: Example,
) -> None:
    # What was folded is gone already.
    left = {path: layer for path, layer in batch_norm_paths(edits.model).items() if path in norms}
    # What stays referenced from a list or a closure still runs once more, before it is refused.
    with preserve(nn.ModuleList(left.values())):
        for layer in {id(layer): layer for layer in left.values()}.values():
            edits.replace(layer, _without(layer))
        for path in norms:
            edits.changed(path, _REMOVED)
        biased = [
            path
            for path, is_trained in feeding.items()
            if _give_zero_bias(edits, edits.model.get_submodule(path), is_trained)
        ]
        after = trace_as_changed(edits.model, example, before)
    stay = {id(layer) for layer in batch_norm_paths(edits.model).values()}
    _refuse_remaining(after.traces, stay)
    outputs = before.evaluation.output_tensors, after.evaluation.output_tensors
    edits.rewrite.difference = largest_difference(*outputs)
    edits.rewrite.relative_difference = relative_difference(*outputs)
    read = set[str]().union(*(watched.parameters_read for watched in after.traces))
    for path in biased:
        if f"{path}.bias" in read:
            edits.changed(path, _BIAS_ADDED)
        else:
            edits.set_parameter(edits.model.get_submodule(path), "bias", None)
            edits.skipped(path, _BIAS_UNREAD)


def _refuse_remaining(traces: Iterable[Trace], stay: set[int]) -> None:
    for watched in traces:
        for call in watched.calls:
            if id(call.module) in stay:
                continue
            if isinstance(call.module, _BatchNorm) or (
                call.module is None and "batch_norm" in call.name
            ):
                raise RewriteError(
                    "still runs a batch norm after all registered ones were replaced",
                    required="a batch norm may be held by its parent module alone, and not also "
                    "by a list, a dict, or a function",
                    remedy="Call it as an attribute of its module, or keep it in torch.nn."
                    "ModuleList, ModuleDict or Sequential",
                    where=call.inside or "(model)",
                )


def _without(layer: nn.Module) -> nn.Module:
    """Return what stands in the place of a batch norm: what it fused, or the identity."""
    if isinstance(layer, BatchNormAct1d | BatchNormAct2d | BatchNormAct3d):
        return layer.without_batch_norm()
    return nn.Identity().train(layer.training)


def _give_zero_bias(edits: Edits, layer: nn.Module, is_trained: bool) -> bool:
    """Add a bias of zeros; return False if the layer has got one by now."""
    if getattr(layer, "bias", None) is not None:
        return False
    # The parameters and not `weight`: that may be computed, and computing it may change buffers.
    own = [tensor for tensor in layer.parameters() if tensor.dtype.is_floating_point]
    like = own[0] if own else layer.weight
    assert isinstance(like, torch.Tensor)
    channels = getattr(layer, "out_features", None) or layer.out_channels
    assert isinstance(channels, int)
    zeros = torch.zeros(channels, dtype=like.dtype, device=like.device)
    edits.set_parameter(layer, "bias", zeros, requires_grad=is_trained)
    return True
