"""`frozen_statistics`: a context in which no forward moves a running statistic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from bnkit.errors import ArgumentTypeError, RewriteError
from bnkit.inspection.walk import norm_kind
from bnkit.rewrite.kept_in_eval import is_kept_class, kept_class, plain_class
from bnkit.rewrite.layer_choice import Patterns, chosen_layers

_COUNTER = "num_batches_tracked"
_STATISTICS = ("running_mean", "running_var", _COUNTER)
# Class of a layer → the same whose statistics stand still.
_CLASSES: dict[type[nn.Module], type[nn.Module]] = {}
# Layer → how many contexts it is in, of whatever threads. Keyed by identity: layers in here are
# held by the open contexts.
_depths: dict[int, int] = {}
_lock = Lock()


@contextmanager
def frozen_statistics(model: nn.Module, layers: Patterns | None = None) -> Iterator[nn.Module]:
    """Let no forward move running_mean, running_var or num_batches_tracked.

    Modes stay: a layer in training mode goes on normalizing by the batch, and one in eval mode by
    its running statistics. Use it where a forward in training mode is not one of training: a second
    forward of the same batch (gradient penalties, SAM, adversarial examples), a probe, a finder of
    learning rates.

    While it is open a layer's code reads copies of its statistics, so whatever is written to
    `layer.running_mean` and its like is lost, by a forward or by hand; `load_state_dict` works.
    Since nothing is moved, nothing is put back: values of inf, an exception, a recomputation of
    activation checkpointing, and other threads change nothing about it. Contexts can be nested, and
    be left in any order.

    Args:
        model: any network with layers that have running statistics.
        layers: paths or patterns of those meant; None for all.

    Yields:
        The model.

    Raises:
        ArgumentTypeError: `model` is no module, or a pattern no text.
        RewriteError: no layer has running statistics; a pattern names none; a layer is TorchScript.

    Cost: three copies of C values for each forward of a layer; a model that torch.compile compiled
    is compiled once more.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentTypeError(f"model is a {type(model).__name__}", required="a torch.nn.Module")
    _refuse_scripted(model)
    chosen = chosen_layers(model, layers, _has_statistics, "layer with running statistics")
    held = list(chosen.values())
    with _lock:
        for layer in held:
            _enter(layer)
    try:
        yield model
    finally:
        with _lock:
            for layer in held:
                _leave(layer)


def _has_statistics(layer: nn.Module) -> bool:
    holds = any(isinstance(layer._buffers.get(name), Tensor) for name in _STATISTICS[:2])
    return norm_kind(layer) is not None and holds


def _refuse_scripted(model: nn.Module) -> None:
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise RewriteError(
                "is TorchScript, whose statistics cannot be held still from outside",
                remedy="Use the module that it was made from",
                where=path or "(model)",
            )


def _enter(layer: nn.Module) -> None:
    _depths[id(layer)] = _depths.get(id(layer), 0) + 1
    if _depths[id(layer)] == 1:
        layer.__class__ = _guarded(type(layer))


def _leave(layer: nn.Module) -> None:
    _depths[id(layer)] -= 1
    if _depths[id(layer)]:
        return
    del _depths[id(layer)]
    kind = type(layer)
    if "_guarded_class" in vars(kind):
        layer.__class__ = vars(kind)["_guarded_class"]
    elif is_kept_class(kind) and "_guarded_class" in vars(plain_class(kind)):
        # It was frozen while the context was open, and stays so.
        layer.__class__ = kept_class(vars(plain_class(kind))["_guarded_class"])


def _guarded(given: type[nn.Module]) -> type[nn.Module]:
    """Return a subclass whose instances read copies of their statistics and write none."""
    if given in _CLASSES:
        return _CLASSES[given]

    def set_attribute(self: Any, name: str, value: Any) -> None:
        if name not in _STATISTICS:
            given.__setattr__(self, name, value)

    def reduce(self: Any, _: Any) -> tuple[Any, ...]:
        # A copy made inside is a plain layer. What made `given` may have a way of its own.
        if "__reduce_ex__" in vars(given):
            return given.__reduce_ex__(self, 2)  # type: ignore[return-value]
        return _new_object, (given,), self.__getstate__()

    own = {
        "__module__": given.__module__,
        "__qualname__": given.__qualname__,
        "__doc__": given.__doc__,
        "__setattr__": set_attribute,
        "__reduce_ex__": reduce,
        "_guarded_class": given,
        **{name: property(_reader(name)) for name in _STATISTICS},
    }
    return _CLASSES.setdefault(given, type(given.__name__, (given,), own))


def _reader(name: str) -> Any:
    def read(self: nn.Module) -> Any:
        for table in (self._buffers, self._parameters, vars(self)):
            if name in table:
                value = table[name]
                if not isinstance(value, Tensor):
                    return value
                # With momentum=None the layer counts the batch, which is lost, and then divides by
                # the count: it is told of one batch at least.
                is_divisor = name == _COUNTER and vars(self).get("momentum") is None
                return value.detach().clamp(min=1) if is_divisor else value.detach().clone()
        raise AttributeError(name)

    return read


def _new_object(given: type[nn.Module]) -> nn.Module:
    return given.__new__(given)
