"""Torch's batch norms turned into bnkit's: an object changes its class and keeps the rest.

Everything that refers to the layer, be it a parent, a list, a closure, a hook or an optimizer, goes
on referring to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.utils import parametrize

from bnkit.layers import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    BatchNormAct1d,
    BatchNormAct2d,
    BatchNormAct3d,
)
from bnkit.rewrite.guarded_class import give_class, unguarded_class
from bnkit.rewrite.result import Skipped

_OURS: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: BatchNorm1d,
    nn.BatchNorm2d: BatchNorm2d,
    nn.BatchNorm3d: BatchNorm3d,
}
_WITH_ACTIVATION: dict[type[nn.Module], type[nn.Module]] = {
    BatchNorm1d: BatchNormAct1d,
    BatchNorm2d: BatchNormAct2d,
    BatchNorm3d: BatchNormAct3d,
}
# Methods by which a subclass does not behave otherwise once the layer stands.
_HARMLESS = {"__init__", "extra_repr", "__repr__"}


@dataclass
class Survey:
    """The normalization layers of a network.

    Attributes:
        torchs: path → layer of torch's that can be swapped, each once.
        ours: path → plain layer of bnkit's, each once.
        skipped: those that are neither, each with the reason.
        batch_norms: how many batch norms of any kind there are.
    """

    torchs: dict[str, _BatchNorm] = field(default_factory=dict)
    ours: dict[str, _BatchNorm] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    batch_norms: int = 0


def survey_layers(model: nn.Module) -> Survey:
    """Return which normalization layers of a network can be swapped, and why others cannot."""
    found = Survey()
    quantized = {
        id(part): type(module).__name__
        for module in model.modules()
        if type(module).__module__.startswith("torch.ao.")
        for part in module.modules()
    }
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            if "BatchNorm" in str(getattr(module, "original_name", "")):
                found.batch_norms += 1
                found.skipped.append(Skipped(path, _SCRIPTED))
        elif isinstance(module, _InstanceNorm):
            found.skipped.append(Skipped(path, _INSTANCE_NORM))
        elif isinstance(module, _BatchNorm):
            found.batch_norms += 1
            reason = _why_not(module, quantized.get(id(module), ""))
            if reason:
                found.skipped.append(Skipped(path, reason))
            elif plain_class(module) in _WITH_ACTIVATION:
                found.ours[path] = module
            else:
                found.torchs[path] = module
    return found


_SCRIPTED = (
    "is TorchScript, which runs without Python; accelerate the network before torch.jit.script"
)
_INSTANCE_NORM = "normalizes each sample by its own statistics, so it is no batch norm"


def _why_not(layer: _BatchNorm, quantized: str) -> str:
    """Return why a batch norm can be neither swapped nor fused, empty if it can."""
    plain = plain_class(layer)
    reason = _why_not_class(plain)
    if reason:
        return reason
    if quantized:
        return f"belongs to a {quantized} of torch.ao, whose tools look for torch's layers"
    replaced = [key for key in vars(layer) if callable(getattr(plain, key, None))]
    if replaced:
        return f"has {' and '.join(replaced)} replaced on the object, which would be passed over"
    return ""


def _why_not_class(plain: type[nn.Module]) -> str:
    if plain in _OURS or plain in _WITH_ACTIVATION:
        return ""
    if issubclass(plain, tuple(_WITH_ACTIVATION)):
        return "is bnkit's already"
    if issubclass(plain, nn.SyncBatchNorm):
        return "is a SyncBatchNorm, whose statistics are taken over all processes"
    namesake = _namesake(plain)
    if namesake is None:
        return f"is a {plain.__name__}, which is none of torch's BatchNorm1d, 2d and 3d"
    own = sorted(own_behaviour(plain, namesake))
    if own:
        return (
            f"is a {plain.__name__}, which has a {', '.join(own)} of its own; derive it from "
            f"bnkit.{namesake.__name__} to make it fast"
        )
    return ""


def own_behaviour(plain: type[nn.Module], namesake: type[nn.Module]) -> Iterator[str]:
    """Yield the methods and descriptors by which a subclass may behave otherwise."""
    for kind in plain.__mro__:
        if kind not in namesake.__mro__:
            for name, value in vars(kind).items():
                is_slot = name in ("__dict__", "__weakref__")
                if name not in _HARMLESS and not is_slot and hasattr(value, "__get__"):
                    yield name


def _namesake(plain: type[nn.Module]) -> type[nn.Module] | None:
    return next((kind for kind in _OURS if issubclass(plain, kind)), None)


def plain_class(layer: nn.Module) -> type[nn.Module]:
    """Return the class of a layer, that before its parametrization if it is parametrized."""
    plain = _before_parametrizations(layer)
    # A subclass that was swapped already counts as bnkit's class.
    return cast(type[nn.Module], vars(plain).get("_accelerated_as", plain))


def _before_parametrizations(layer: nn.Module) -> type[nn.Module]:
    kind = unguarded_class(type(layer))
    return kind.__bases__[0] if parametrize.is_parametrized(layer) else kind


def swap_class(layer: _BatchNorm) -> Callable[[], None]:
    """Turn a layer of torch's into bnkit's, and return what turns it back."""
    plain = plain_class(layer)
    namesake = _namesake(plain)
    assert namesake is not None
    ours = _OURS[namesake]
    return _change_class(layer, ours if plain is namesake else accelerated_class(plain, ours))


def fuse_activation(
    layer: _BatchNorm, activation: nn.Module, name: str, negative_slope: float
) -> Callable[[], None]:
    """Have a layer of bnkit's activate, make the activation the identity; return the way back."""
    given = _before_parametrizations(layer)
    fused = _WITH_ACTIVATION[plain_class(layer)]
    if "_accelerated_as" in vars(given):
        fused = accelerated_class(given.__bases__[0], fused)
    restore_layer = _change_class(layer, fused)
    layer.activation, layer.negative_slope = name, negative_slope  # type: ignore[assignment]
    restore_activation = _change_class(activation, nn.Identity)
    return partial(_split, layer, restore_layer, restore_activation)


def _split(
    layer: nn.Module, restore_layer: Callable[[], None], restore_activation: Callable[[], None]
) -> None:
    restore_activation()
    restore_layer()
    del layer.activation, layer.negative_slope


def _change_class(module: nn.Module, kind: type[nn.Module]) -> Callable[[], None]:
    former = unguarded_class(type(module))
    if parametrize.is_parametrized(module):
        # Each parametrized module has a class of its own, with the computed tensors as properties.
        own = {key: value for key, value in vars(former).items() if key not in _OF_ANY_CLASS}
        kind = type(former.__name__, (kind,), own)
    give_class(module, kind)
    return partial(give_class, module, former)


_OF_ANY_CLASS = ("__dict__", "__weakref__", "__doc__")


# (the user's subclass, bnkit's layer) → the class that is both.
_CLASSES: dict[tuple[type, type], type[nn.Module]] = {}


def accelerated_class(given: type[nn.Module], ours: type[nn.Module]) -> type[nn.Module]:
    """Return a class that is both the user's subclass and bnkit's layer, and can be pickled.

    Args:
        given: a subclass of one of torch's batch norms, without behaviour of its own.
        ours: bnkit's layer of that name, with or without an activation.
    """
    if (given, ours) in _CLASSES:
        return _CLASSES[given, ours]

    def reduce(self: Any, _: Any) -> tuple[Any, ...]:
        return _new_object, (given, ours), self.__getstate__()

    own = {
        "__module__": given.__module__,
        "__qualname__": given.__qualname__,
        "__reduce_ex__": reduce,
        "_accelerated_as": ours,
    }
    return _CLASSES.setdefault((given, ours), type(given.__name__, (given, ours), own))


def _new_object(given: type[nn.Module], ours: type[nn.Module]) -> nn.Module:
    kind = accelerated_class(given, ours)
    return kind.__new__(kind)
