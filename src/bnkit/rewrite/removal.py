"""Remove batch norm from a network; its feeding layers get the bias that it made redundant."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnkit.errors import RewriteError
from bnkit.inspection.preserve import preserve
from bnkit.inspection.trace import Call, Trace, tensors_in, trace
from bnkit.rewrite.result import Change, Rewrite

_FEEDING_LAYERS = (nn.Linear, nn.modules.conv._ConvNd)
# Functions that apply weights of their own, which have no module that could take a bias.
_WEIGHTED_FUNCTIONS = ("conv", "linear", "bilinear", "matmul", "bmm", "mm", "addmm", "einsum")


def remove(
    model: nn.Module, example_args: Tensor | Sequence[Any], *, inplace: bool = False
) -> Rewrite:
    """Replace every batch norm by the identity.

    A batch norm's β does a bias's work, so the conv or linear layers that feed one are usually
    built without a bias. Each of those that has none gets one of zeros. Feeding layers are found
    by tracing one run: from the batch norm's input backwards through everything that applies no
    weights (activations, pooling, additions, reshaping).

    Args:
        model: any network with at least one batch norm.
        example_args: the input of one forward, a tensor or a tuple of arguments.
        inplace: change the model itself and not a copy.

    Returns:
        The rewrite; `.difference` is measured in eval mode on the example.

    Raises:
        RewriteError: there is no batch norm; a batch norm is a subclass with a forward of its own,
            whose extra behaviour the identity would drop; one is called as a function; the network
            does not run on the example, before or after. The model is then as it was.

    Cost: three forwards, and a copy of the model unless `inplace`.
    """
    args = (example_args,) if isinstance(example_args, Tensor) else tuple(example_args)
    found = batch_norm_paths(model)
    if not found:
        raise RewriteError(
            "the network has no batch norm",
            required="at least one torch.nn.BatchNorm1d, 2d or 3d, or a subclass",
        )
    for path, layer in found.items():
        _refuse_own_behaviour(path, layer)
    before = _traced(model, args)
    _refuse_functional(before)
    feeding = _feeding_paths(model, before)
    rewrite = Rewrite(model if inplace else _copied(model))
    try:
        _apply(rewrite, list(found), feeding)
        rewrite.difference = _largest_difference(before.output, _run(rewrite.model, args))
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


def _refuse_functional(watched: Trace) -> None:
    for call in watched.calls:
        if call.module is None and call.name.rsplit(".", 1)[-1] in (
            "batch_norm",
            "native_batch_norm",
        ):
            raise RewriteError(
                "calls batch norm as a function",
                required="a batch norm can be removed where it is a module",
                remedy="Use torch.nn.BatchNorm1d, 2d or 3d there",
                where=call.inside or "(model)",
            )


def _traced(model: nn.Module, args: Sequence[Any]) -> Trace:
    try:
        return trace(model, args)
    except Exception as error:
        raise RewriteError(
            f"the network raised {type(error).__name__} on the example: {error}",
            required="one forward in eval mode must run",
            remedy="Give an example input of the shape and dtype it takes",
        ) from error


def _feeding_paths(model: nn.Module, watched: Trace) -> list[str]:
    """Return the paths of feeding layers without a bias, in the order in which they first ran."""
    numbers: set[int] = set()
    for call in watched.calls:
        if isinstance(call.module, _BatchNorm):
            numbers |= _feeding_calls(watched, call.sources[:1])
    paths = [watched.calls[number].name for number in sorted(numbers)]
    modules = dict(model.named_modules(remove_duplicate=False))
    return [path for path in dict.fromkeys(paths) if modules[path].bias is None]


def _feeding_calls(watched: Trace, sources: Sequence[int | None]) -> set[int]:
    found: set[int] = set()
    seen: set[int] = set()
    open_numbers = [number for number in sources if number is not None]
    while open_numbers:
        number = open_numbers.pop()
        if number in seen:
            continue
        seen.add(number)
        call = watched.calls[number]
        if isinstance(call.module, _FEEDING_LAYERS):
            found.add(number)
        elif not _applies_weights(call):
            open_numbers += [source for source in call.sources if source is not None]
    return found


def _applies_weights(call: Call) -> bool:
    if call.module is None:
        return call.name.rsplit(".", 1)[-1].strip("_").startswith(_WEIGHTED_FUNCTIONS)
    # PReLU's slope is a parameter, yet a bias before it is still the bias of the layer before it.
    return any(True for _ in call.module.parameters()) and not isinstance(call.module, nn.PReLU)


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise RewriteError(
            f"the network cannot be copied ({type(error).__name__}: {error})",
            required="a rewrite works on a copy unless told otherwise",
            remedy="Give inplace=True, or make the network work with copy.deepcopy",
        ) from error


def _apply(rewrite: Rewrite, norm_paths: Sequence[str], feeding: Sequence[str]) -> None:
    for path in norm_paths:
        _replace(rewrite, path)
        rewrite.changes.append(Change(path, "batch norm removed"))
    for path in feeding:
        layer = rewrite.model.get_submodule(path)
        _give_zero_bias(rewrite, layer)
        rewrite.changes.append(Change(path, "bias of zeros added: a batch norm's β did its work"))


def _replace(rewrite: Rewrite, path: str) -> None:
    if not path:
        old_model = rewrite.model

        def restore_model() -> None:
            rewrite.model = old_model

        rewrite.model = nn.Identity().train(old_model.training)
        rewrite._reversals.append(restore_model)
        return
    parent_path, _, name = path.rpartition(".")
    parent = rewrite.model.get_submodule(parent_path)
    old = parent._modules[name]
    assert old is not None

    def restore() -> None:
        parent._modules[name] = old

    parent._modules[name] = nn.Identity().train(old.training)
    rewrite._reversals.append(restore)


def _give_zero_bias(rewrite: Rewrite, layer: nn.Module) -> None:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    channels = getattr(layer, "out_features", None) or layer.out_channels
    assert isinstance(channels, int)

    def restore() -> None:
        layer.register_parameter("bias", None)

    bias = torch.zeros(channels, dtype=weight.dtype, device=weight.device)
    layer.bias = nn.Parameter(bias, requires_grad=weight.requires_grad)
    rewrite._reversals.append(restore)


def _run(model: nn.Module, args: Sequence[Any]) -> Any:
    try:
        with preserve(model), torch.no_grad():
            model.eval()
            return model(*args)
    except Exception as error:
        raise RewriteError(
            f"without batch norm the network raised {type(error).__name__}: {error}",
            required="the network must not read a batch norm's parameters or buffers elsewhere",
            remedy="Call the batch norm as a module and nothing else",
        ) from error


def _largest_difference(before: Any, after: Any) -> float:
    pairs = zip(tensors_in(before), tensors_in(after), strict=True)
    largest = 0.0
    for old, new in pairs:
        if old.numel() and old.is_floating_point():
            largest = max(largest, float((old.double() - new.double()).abs().max()))
    return largest
