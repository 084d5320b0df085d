"""A walk over the modules of a model: every normalization layer, module and parameter as facts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized

from bnkit.errors import CheckError
from bnkit.inspection.facts.model import (
    LayerFacts,
    ModelFacts,
    ModuleFacts,
    ParameterFacts,
    TensorFacts,
)
from bnkit.inspection.families import module_family
from bnkit.inspection.options import dtype_name, module_options

_KINDS: tuple[tuple[str, tuple[type[nn.Module], ...]], ...] = (
    ("sync", (nn.SyncBatchNorm,)),
    ("batch", (_BatchNorm,)),
    ("instance", (_NormBase,)),
    ("group", (nn.GroupNorm,)),
    ("layer", (nn.LayerNorm,)),
    ("rms", (nn.RMSNorm,)),
    ("local-response", (nn.LocalResponseNorm, nn.CrossMapLRN2d)),
)
_RANKS: tuple[tuple[type[nn.Module], tuple[int, ...]], ...] = (
    (nn.BatchNorm1d, (2, 3)),
    (nn.BatchNorm2d, (4,)),
    (nn.BatchNorm3d, (5,)),
)
_WRAPPERS = {"DistributedDataParallel", "DataParallel", "AveragedModel", "OptimizedModule"}
_HOOKS = {
    "forward": "_forward_hooks",
    "forward-pre": "_forward_pre_hooks",
    "backward": "_backward_hooks",
    "backward-pre": "_backward_pre_hooks",
}


def walk(
    model: nn.Module, *, weights_loaded: bool = False, measure_weights: bool = False
) -> ModelFacts:
    """Return the facts of a model that no forward is needed for; nothing is run or changed.

    Args:
        model: any module; normalization layers are torch's, bnkit's, anybody's subclasses of
            them, and modules that hold a running mean and variance.
        weights_loaded: whether trained weights were loaded into it.
        measure_weights: fill `ModuleFacts.largest_weights`.

    Cost: one pass over the parameters and buffers of normalization layers; measuring weights, one
    over those of conv and linear layers too.

    Raises:
        CheckError: a module is TorchScript.
    """
    _refuse_scripted(model)
    paths = paths_of(model)
    modules = [module for _, module in model.named_modules()]
    names = _parameter_names(model)
    return ModelFacts(
        type_name=type(model).__name__,
        training=model.training,
        norms=tuple(
            _layer(module, paths[id(module)]) for module in modules if norm_kind(module) is not None
        ),
        modules=tuple(
            _module(module, paths[id(module)], names, measure_weights) for module in modules
        ),
        parameters=tuple(_parameter(parameter, found) for parameter, found in names.values()),
        wrappers=tuple(_wrappers(model)),
        weights_loaded=weights_loaded,
    )


def _refuse_scripted(model: nn.Module) -> None:
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise CheckError(
                "is TorchScript, whose layers cannot be looked at",
                remedy="Check the module that it was made from",
                where=path or "(model)",
            )


def norm_kind(module: nn.Module) -> str | None:
    """Return the kind of a normalization layer (see `LayerFacts.kind`); None for other modules."""
    for kind, bases in _KINDS:
        if isinstance(module, bases):
            return kind
    holds = [module._buffers.get(name) for name in ("running_mean", "running_var")]
    return "frozen" if all(isinstance(tensor, Tensor) for tensor in holds) else None


def paths_of(model: nn.Module) -> dict[int, tuple[str, ...]]:
    """Return id of a module → its paths; the first is the one that `named_modules` names."""
    found: dict[int, list[str]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        found.setdefault(id(module), []).append(path)
    return {key: tuple(paths) for key, paths in found.items()}


def _layer(layer: nn.Module, paths: tuple[str, ...]) -> LayerFacts:
    held = vars(layer)
    momentum = held.get("momentum", 0.1)
    return LayerFacts(
        path=paths[0],
        paths=paths,
        type_name=type(layer).__name__,
        home=type(layer).__module__,
        kind=norm_kind(layer) or "",
        channels=_channels(layer),
        ranks=next((ranks for base, ranks in _RANKS if isinstance(layer, base)), ()),
        eps=float(held.get("eps") or 0.0),
        momentum=None if momentum is None else float(momentum),
        training=layer.training,
        track_running_stats=bool(held.get("track_running_stats", True)),
        weight=_tensor(layer, "weight"),
        bias=_tensor(layer, "bias"),
        running_mean=_tensor(layer, "running_mean"),
        running_var=_tensor(layer, "running_var"),
        batches_tracked=_counter(layer),
        has_own_forward=_has_own_forward(layer),
        children=tuple(path for path, _ in layer.named_modules() if path),
        hooks=_hooks(layer),
        parametrized=_parametrized(layer),
    )


def _channels(layer: nn.Module) -> int | None:
    held = vars(layer)
    channels = held.get("num_features", held.get("num_channels"))
    if isinstance(channels, int):
        return channels
    mean = layer._buffers.get("running_mean")
    return None if mean is None or mean.dim() != 1 else len(mean)


def _has_own_forward(layer: nn.Module) -> bool:
    if "forward" in vars(layer):
        return True
    forward = type(layer).forward
    # The forward of a torch.fx.GraphModule has no module.
    home = getattr(forward, "__module__", None) or ""
    return not home.startswith(("torch.nn.", "bnkit."))


def _tensor(layer: nn.Module, name: str) -> TensorFacts | None:
    tensor = layer._parameters.get(name, layer._buffers.get(name))
    if tensor is None and name in _parametrized(layer):
        # Its value is computed, which may change buffers: what it is made of stands for it.
        return _of_tensor(next(layer.parametrizations[name].parameters()))  # type: ignore[index,union-attr]
    if tensor is None:
        tensor = vars(layer).get(name)
    return _of_tensor(tensor) if isinstance(tensor, Tensor) else None


def _of_tensor(tensor: Tensor) -> TensorFacts:
    has_values = not is_lazy(tensor) and not tensor.is_meta and tensor.dim() == 1
    # Complex numbers and the like have no order that a rule could judge.
    has_values = has_values and tensor.dtype.is_floating_point
    return TensorFacts(
        shape=() if is_lazy(tensor) else tuple(tensor.shape),
        dtype=dtype_name(tensor.dtype),
        device=str(tensor.device),
        requires_grad=tensor.requires_grad,
        values=tuple(tensor.detach().cpu().double().tolist()) if has_values else (),
    )


def _counter(layer: nn.Module) -> int | None:
    counter = layer._buffers.get("num_batches_tracked")
    if counter is None or is_lazy(counter) or counter.is_meta or counter.numel() != 1:
        return None
    return int(counter.item())


def _module(
    module: nn.Module,
    paths: tuple[str, ...],
    names: dict[int, tuple[nn.Parameter, list[str]]],
    measure_weights: bool,
) -> ModuleFacts:
    return ModuleFacts(
        path=paths[0],
        paths=paths,
        type_name=type(module).__name__,
        home=type(module).__module__,
        family=module_family(module),
        training=module.training,
        options=module_options(module),
        parameters={
            name: names[id(parameter)][1][0]
            for name, parameter in module._parameters.items()
            if parameter is not None
        },
        hooks=_hooks(module),
        parametrized=_parametrized(module),
        has_own_forward=_has_own_forward(module),
        largest_weights=_largest_weights(module) if measure_weights else (),
    )


def _largest_weights(module: nn.Module) -> tuple[float, ...]:
    weight = module._parameters.get("weight")
    is_transposed = isinstance(module, nn.modules.conv._ConvTransposeNd)
    if not isinstance(module, nn.Linear | nn.modules.conv._ConvNd) or weight is None:
        return ()
    if is_lazy(weight) or weight.is_meta or weight.numel() == 0:
        return ()
    magnitude = weight.detach().abs()
    if is_transposed:  # (in, out / groups, …) → (out, …)
        assert isinstance(module, nn.modules.conv._ConvTransposeNd)
        by_group = magnitude.reshape(module.groups, -1, *magnitude.shape[1:])
        magnitude = by_group.transpose(1, 2).flatten(0, 1)
    return tuple(magnitude.flatten(1).amax(1).double().cpu().tolist())


def _parameter_names(model: nn.Module) -> dict[int, tuple[nn.Parameter, list[str]]]:
    found: dict[int, tuple[nn.Parameter, list[str]]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        found.setdefault(id(parameter), (parameter, []))[1].append(name)
    return found


def _parameter(parameter: nn.Parameter, names: Sequence[str]) -> ParameterFacts:
    return ParameterFacts(
        name=names[0],
        names=tuple(names),
        shape=() if is_lazy(parameter) else tuple(parameter.shape),
        dtype=dtype_name(parameter.dtype),
        device=str(parameter.device),
        requires_grad=parameter.requires_grad,
    )


def _hooks(module: nn.Module) -> tuple[str, ...]:
    return tuple(kind for kind, table in _HOOKS.items() if getattr(module, table))


def _parametrized(module: nn.Module) -> tuple[str, ...]:
    return tuple(module.parametrizations) if is_parametrized(module) else ()  # type: ignore[arg-type]


def _wrappers(model: Any) -> list[str]:
    found: list[str] = []
    while type(model).__name__ in _WRAPPERS:
        found.append(type(model).__name__)
        inner = getattr(model, "_orig_mod", None)
        model = inner if inner is not None else model.module
    return found
