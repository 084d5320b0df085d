"""Remove batch norm from a network; its feeding layers get the bias that it made redundant."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnkit.errors import RewriteError
from bnkit.inspection.preserve import preserve
from bnkit.inspection.trace import Example, Trace, refuse_uninitialized
from bnkit.layers import BatchNormAct1d, BatchNormAct2d, BatchNormAct3d
from bnkit.rewrite.double_trace import DoubleTrace, trace_as_changed, trace_as_given
from bnkit.rewrite.feeding_layers import find_feeding
from bnkit.rewrite.model_copy import copied
from bnkit.rewrite.output_difference import largest_difference
from bnkit.rewrite.result import Change, Rewrite, Skipped

_REMOVED = "batch norm removed"
_BIAS_ADDED = "bias of zeros added: a batch norm's β did its work"
_HOOKS_DROPPED = "the hooks registered on this batch norm were removed with it"
_BIAS_UNREAD = "feeds a batch norm without a bias, and its forward would not use one"
_HOOK_TABLES = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def remove(model: nn.Module, example_args: Example, *, inplace: bool = False) -> Rewrite:
    """Replace every batch norm by the identity.

    A batch norm's β does a bias's work, so the conv or linear layers that feed one are usually
    built without a bias. Each of those that has none gets one of zeros, trained if β was; a batch
    norm without β asks for none. Feeding layers are found
    by tracing one run in eval mode and one in training mode: from the batch norm's input backwards
    through everything that applies no weights (activations, pooling, additions, reshaping). What
    feeds a batch norm and can be given no bias is listed in `.skipped`, as is a batch norm that
    never ran.

    Of a `BatchNormAct` the addition and the activation stay.

    Args:
        model: any network with at least one batch norm.
        example_args: the input of one forward: a tensor, positional arguments in a tuple or list,
            or keyword arguments in a mapping.
        inplace: change the model itself and not a copy.

    Returns:
        The rewrite; `.difference` is measured in eval mode on the example.

    Raises:
        RewriteError: there is no batch norm; a batch norm is a subclass with a forward of its own,
            whose extra behaviour the identity would drop; one is called as a function, or still
            runs afterwards, because something else than its parent module holds it; parameters are
            uninitialized; a part is TorchScript; the network does not run on the example, before or
            after, or returns other shapes after. The model is then as it was.

    Cost: four forwards, and a copy of the model unless `inplace`.
    """
    refuse_uninitialized(model)
    norms = batch_norm_paths(model)
    _refuse_unprovable(model, norms)
    before = trace_as_given(model, example_args)
    _refuse_functional(before.traces)
    feeding = find_feeding(norms, before.traces, before.training_error)
    rewrite = Rewrite(model if inplace else copied(model), skipped=feeding.skipped)
    rewrite.skipped += [
        Skipped(path, _HOOKS_DROPPED) for path, layer in norms.items() if _has_hooks(layer)
    ]
    try:
        _change_and_check(rewrite, model, feeding.paths, before, example_args)
    except Exception:
        rewrite.undo()
        raise
    return rewrite


def batch_norm_paths(model: nn.Module) -> dict[str, _BatchNorm]:
    """Return path → layer for every batch norm, shared ones under each of their paths."""
    return {
        path: module
        for path, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, _BatchNorm)
    }


def _refuse_unprovable(model: nn.Module, norms: dict[str, _BatchNorm]) -> None:
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise RewriteError(
                "is TorchScript",
                required="a trace cannot look into it, so a batch norm in it could be missed",
                remedy="Give the network as it was before torch.jit.script or torch.jit.trace",
                where=path or "(model)",
            )
    if not norms:
        raise RewriteError(
            "the network has no batch norm",
            required="at least one torch.nn.BatchNorm1d, 2d or 3d, or a subclass",
        )
    for path, layer in norms.items():
        _refuse_own_behaviour(path, layer)


def _refuse_own_behaviour(path: str, layer: _BatchNorm) -> None:
    home = type(layer).__module__
    if home.startswith(("torch.nn.", "bnkit.")):
        return
    if type(layer).forward is _BatchNorm.forward and not any(layer.children()):
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


def _change_and_check(
    rewrite: Rewrite,
    model: nn.Module,
    feeding: dict[str, bool],
    before: DoubleTrace,
    example: Example,
) -> None:
    with ExitStack() as kept:
        # What stays referenced from a list or a closure still runs once more, before it is
        # refused: the layers that are taken out, and, where a closure was not copied, the original.
        norms = batch_norm_paths(rewrite.model)
        kept.enter_context(preserve(nn.ModuleList(norms.values())))
        if rewrite.model is not model:
            kept.enter_context(preserve(model))
        for path in norms:
            _replace(rewrite, path)
            rewrite.changes.append(Change(path, _REMOVED))
        biases = {
            path: _give_zero_bias(rewrite.model.get_submodule(path), is_trained)
            for path, is_trained in feeding.items()
        }
        rewrite._reversals += biases.values()
        after = trace_as_changed(rewrite.model, example, before)
    _refuse_remaining(after.traces)
    rewrite.difference = largest_difference(
        before.evaluation.output_tensors, after.evaluation.output_tensors
    )
    read = set[str]().union(*(watched.parameters_read for watched in after.traces))
    for path, take_back in biases.items():
        if f"{path}.bias" in read:
            rewrite.changes.append(Change(path, _BIAS_ADDED))
        else:
            take_back()
            rewrite._reversals.remove(take_back)
            rewrite.skipped.append(Skipped(path, _BIAS_UNREAD))


def _refuse_remaining(traces: Iterable[Trace]) -> None:
    for watched in traces:
        for call in watched.calls:
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


def _replace(rewrite: Rewrite, path: str) -> None:
    if not path:
        old_model = rewrite.model

        def restore_model() -> None:
            rewrite.model = old_model

        rewrite.model = _without(old_model)
        rewrite._reversals.append(restore_model)
        return
    parent_path, _, name = path.rpartition(".")
    parent = rewrite.model.get_submodule(parent_path)
    old = parent._modules[name]
    assert old is not None

    def restore() -> None:
        parent._modules[name] = old

    parent._modules[name] = _without(old)
    rewrite._reversals.append(restore)


def _without(layer: nn.Module) -> nn.Module:
    """Return what stands in the place of a batch norm: what it fused, or the identity."""
    if isinstance(layer, BatchNormAct1d | BatchNormAct2d | BatchNormAct3d):
        return layer.without_batch_norm()
    return nn.Identity().train(layer.training)


def _give_zero_bias(layer: nn.Module, is_trained: bool) -> Callable[[], None]:
    """Add the bias and return what takes it back."""
    # The parameters and not `weight`: that may be computed, and computing it may change buffers.
    own = [tensor for tensor in layer.parameters() if tensor.dtype.is_floating_point]
    like = own[0] if own else layer.weight
    assert isinstance(like, torch.Tensor)
    channels = getattr(layer, "out_features", None) or layer.out_channels
    assert isinstance(channels, int)
    attributes, parameters = dict(vars(layer)), dict(layer._parameters)

    def restore() -> None:
        layer._parameters.clear()
        layer._parameters.update(parameters)
        if "bias" in attributes:
            vars(layer)["bias"] = attributes["bias"]

    bias = torch.zeros(channels, dtype=like.dtype, device=like.device)
    layer.bias = nn.Parameter(bias, requires_grad=is_trained)
    return restore
