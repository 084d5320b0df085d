"""Freeze normalization layers: weight, bias and running statistics; and unfreeze them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils.parametrize import is_parametrized

from bnkit.errors import ArgumentTypeError, RewriteError
from bnkit.inspection.trace import refuse_uninitialized
from bnkit.inspection.walk import norm_kind
from bnkit.rewrite.edits import Edits, rewriting
from bnkit.rewrite.inference_tensors import refuse_inference_tensors
from bnkit.rewrite.kept_in_eval import is_kept_class
from bnkit.rewrite.layer_choice import Patterns, chosen_layers
from bnkit.rewrite.result import Rewrite

# Where a frozen layer keeps, as JSON, what it was before. A plain attribute: copies have it too.
_BEFORE = "_before_freeze"
_KEPT, _NOT_KEPT = "kept-in-eval", "not-kept-in-eval"
_KIND = "layer with running statistics"
_FROZEN = "frozen: running statistics stand still, also after model.train()"


def freeze(model: nn.Module, layers: Patterns | None = None, *, inplace: bool = False) -> Rewrite:
    """Freeze batch norms: their weight, bias and running statistics stand still.

    y = (x − running_mean)/√(running_var + eps)·weight + bias, also after `model.train()`. Weight
    and bias get requires_grad=False, and a gradient that is left in them is taken away, or the next
    step of an optimizer would still move them. The layer's class is replaced by a subclass of the
    same name whose `train` stays in eval mode; copies, pickles and files of `save` keep it so.

    Frozen are batch norms of every dimension, synchronised ones, those of bnkit, subclasses, and
    instance norms that track statistics. What is written past `train`, such as `layer.training =
    True` or `model.requires_grad_(True)`, is written.

    Args:
        model: any network with such a layer.
        layers: paths or patterns, such as "backbone" or "layer1.*.bn2"; None for all.
        inplace: change the model itself and not a copy. An optimizer holds the model's own
            parameters, so with one that exists already this is what is wanted.

    Returns:
        The rewrite. Outputs in eval mode are the same; `.difference` is 0.

    Raises:
        ArgumentTypeError: `model` is no module, or a pattern no text.
        RewriteError: no such layer, or a pattern names none; `inplace`, and a parameter was made in
            inference mode.

    Cost: a copy of the model unless `inplace`; no forward.
    """
    _check_model(model)
    chosen = chosen_layers(model, layers, _has_statistics_or_should, _KIND)
    if inplace:
        _refuse_inference_parameters(chosen, "Freeze")
    with rewriting("freeze", model, inplace=inplace) as edits:
        for path in chosen:
            _freeze(edits, path)
        edits.rewrite.difference = edits.rewrite.relative_difference = 0.0
    return edits.rewrite


def unfreeze(model: nn.Module, layers: Patterns | None = None, *, inplace: bool = False) -> Rewrite:
    """Give layers that `freeze`, or `convert` to "frozen", froze what they were.

    These are their mode, class and requires_grad.

    They are what they were when they were frozen, also in a copy, a pickle, or a model that
    `bnkit.load` has loaded. Gradients that `freeze` took away are not brought back.

    Args:
        model: a network with frozen layers.
        layers: paths or patterns; None for all that are frozen.
        inplace: change the model itself and not a copy.

    Returns:
        The rewrite; layers that `freeze` did not freeze are in `.skipped`.

    Raises:
        ArgumentTypeError: `model` is no module, or a pattern no text.
        RewriteError: `freeze` froze no layer of this model; a pattern names no layer; `inplace`,
            and a parameter was made in inference mode.

    Cost: a copy of the model unless `inplace`; no forward.
    """
    _check_model(model)
    is_eligible = _is_frozen if layers is None else _has_statistics_or_should
    chosen = chosen_layers(model, layers, is_eligible, "layer that bnkit.freeze froze")
    if inplace:
        _refuse_inference_parameters(chosen, "Unfreeze")
    with rewriting("unfreeze", model, inplace=inplace) as edits:
        for path in chosen:
            layer = edits.model.get_submodule(path)
            if _is_frozen(layer):
                _unfreeze(edits, path, layer)
            else:
                edits.skipped(path, "it was not frozen by bnkit.freeze")
        edits.rewrite.difference = edits.rewrite.relative_difference = 0.0
    return edits.rewrite


def _check_model(model: Any) -> None:
    if not isinstance(model, nn.Module):
        raise ArgumentTypeError(f"model is a {type(model).__name__}", required="a torch.nn.Module")
    refuse_uninitialized(model)


def _refuse_inference_parameters(chosen: Mapping[str, nn.Module], verb: str) -> None:
    # Outside of inference mode their requires_grad cannot become True, so there is no way back.
    for path, layer in chosen.items():
        named = ((f"{path}.{name}".lstrip("."), p) for name, p in layer.named_parameters())
        refuse_inference_tensors(named, f"{verb} a copy, with inplace=False")


def _has_statistics_or_should(layer: nn.Module) -> bool:
    """Return whether a layer is one that a user may mean: with statistics, or a batch norm."""
    kind = norm_kind(layer)
    return kind in ("batch", "sync", "frozen") or (
        kind is not None and isinstance(layer._buffers.get("running_mean"), Tensor)
    )


def _is_frozen(layer: nn.Module) -> bool:
    return is_kept_class(type(layer)) and isinstance(vars(layer).get(_BEFORE), str)


def _freeze(edits: Edits, path: str) -> None:
    layer = edits.model.get_submodule(path)
    reason = _refusal(layer)
    if reason:
        edits.skipped(path, reason)
        return
    had_gradient = freeze_layer(edits, layer)
    names = " and ".join(_parameter_names(layer))
    what = f"{_FROZEN}; {names} not trained" if names else _FROZEN
    edits.changed(path, f"{what}, their gradients taken away" if had_gradient else what)
    _note_ties(edits, path, [parameter for _, _, parameter in _own_parameters(layer)])


def freeze_layer(edits: Edits, layer: nn.Module) -> bool:
    """Freeze a layer that can be, with a record of what it was for `unfreeze`.

    Returns:
        Whether gradients were taken away.
    """
    parameters = list(_own_parameters(layer))
    before = {
        "kept": is_kept_class(type(layer)),
        "training": [module.training for module in layer.modules()],
        "trained": [module._parameters[name].requires_grad for module, name, _ in parameters],  # type: ignore[union-attr]
    }
    edits.set_attribute(layer, _BEFORE, json.dumps(before))
    if not before["kept"]:
        edits.set_class(layer, _KEPT)
    for module in layer.modules():
        edits.set_mode(module, training=False)
    had_gradient = False
    for module, name, parameter in parameters:
        edits.set_trained(module, name, trained=False)
        if parameter.grad is not None:
            edits.drop_gradient(parameter)
            had_gradient = True
    return had_gradient


def _refusal(layer: nn.Module) -> str:
    """Return why a layer is not frozen; empty if it is."""
    if _is_frozen(layer):
        return "it is frozen already"
    if "train" in vars(layer):
        return "its train() was replaced, so that it cannot be kept in eval mode"
    if any("_accelerated_as" in vars(kind) for kind in type(layer).__mro__):
        return "it was accelerated; undo that, freeze, and accelerate again"
    if not isinstance(layer, _NormBase):
        return f"is a {type(layer).__name__}, whose own code decides whether statistics move"
    return _missing_statistics(layer)


def _missing_statistics(layer: _NormBase) -> str:
    held = [layer._buffers.get(name) for name in ("running_mean", "running_var")]
    if any(tensor is None for tensor in held):
        return "it has no running statistics, and normalizes by the batch in eval mode too"
    if not layer.track_running_stats and norm_kind(layer) == "instance":
        return "it does not track statistics, and normalizes by each sample in eval mode too"
    return ""


def _own_parameters(layer: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    """Yield (module, name, parameter) of a layer's own, parametrized ones included."""
    holders = [layer, *(part for held in _parametrizations(layer) for part in held.modules())]
    for holder in holders:
        for name, parameter in holder._parameters.items():
            if parameter is not None:
                yield holder, name, parameter


def _parametrizations(layer: nn.Module) -> list[nn.ModuleDict]:
    held = layer._modules.get("parametrizations") if is_parametrized(layer) else None
    return [held] if isinstance(held, nn.ModuleDict) else []


def _parameter_names(layer: nn.Module) -> list[str]:
    found = [name for name, held in layer._parameters.items() if held is not None]
    return [*found, *(name for held in _parametrizations(layer) for name in held)]


def _note_ties(edits: Edits, path: str, parameters: list[nn.Parameter]) -> None:
    """Say which parameters elsewhere in the model are frozen with a layer's own."""
    ids = {id(parameter) for parameter in parameters}
    prefix = f"{path}." if path else ""
    for name, parameter in edits.model.named_parameters(remove_duplicate=False):
        if id(parameter) in ids and not name.startswith(prefix):
            edits.rewrite.notes.append(
                f"{name} is tied to a parameter of {path}: it is not trained"
            )


def _unfreeze(edits: Edits, path: str, layer: nn.Module) -> None:
    before = json.loads(vars(layer)[_BEFORE])
    parameters = list(_own_parameters(layer))
    modules = list(layer.modules())
    counts = len(before["training"]), len(before["trained"])
    if counts != (len(modules), len(parameters)):
        raise RewriteError(
            "has other parameters or modules than when it was frozen",
            required=f"{counts[1]} parameters and {counts[0]} modules",
            remedy="Undo what changed it first",
            where=path or "(model)",
        )
    edits.drop_attribute(layer, _BEFORE)
    if not before["kept"]:
        edits.set_class(layer, _NOT_KEPT)
    for module, training in zip(modules, before["training"], strict=True):
        edits.set_mode(module, training=training)
    for (module, name, _), trained in zip(parameters, before["trained"], strict=True):
        edits.set_trained(module, name, trained=trained)
    mode = "training" if before["training"][0] else "eval"
    edits.changed(path, f"no longer frozen: in {mode} mode, as it was before")
