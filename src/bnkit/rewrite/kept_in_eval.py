"""Layers that stay in eval mode, whatever the model's `train()` says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from bnkit.rewrite.guarded_class import give_class, unguarded_class

# Class of a layer → the same that stays in eval mode.
_CLASSES: dict[type[nn.Module], type[nn.Module]] = {}


def keep_in_eval(layer: nn.Module) -> Callable[[], None]:
    """Put a layer into eval mode for good, and return what gives it back its mode and class.

    Its class is replaced by a subclass of the same name whose `train` keeps eval mode; it can be
    copied and pickled.
    """
    former, modes = (
        unguarded_class(type(layer)),
        [(module, module.training) for module in layer.modules()],
    )
    give_class(layer, kept_class(former))
    layer.eval()

    def restore() -> None:
        give_class(layer, former)
        for module, training in modes:
            module.training = training

    return restore


def kept_class(given: type[nn.Module]) -> type[nn.Module]:
    """Return the subclass of a layer's class that stays in eval mode."""
    if given in _CLASSES:
        return _CLASSES[given]

    def train(self: Any, mode: bool = True) -> Any:  # noqa: ARG001
        return given.train(self, False)

    def reduce(self: Any, _: Any) -> tuple[Any, ...]:
        return _new_object, (given,), self.__getstate__()

    own = {
        "__module__": given.__module__,
        "__qualname__": given.__qualname__,
        "__doc__": given.__doc__,
        "__reduce_ex__": reduce,
        "_kept_in_eval": True,
        "train": train,
    }
    return _CLASSES.setdefault(given, type(given.__name__, (given,), own))


def plain_class(kind: type[nn.Module]) -> type[nn.Module]:
    """Return the class that a class of `kept_class` was made of; any other as it is."""
    kind = unguarded_class(kind)
    return kind.__mro__[1] if is_kept_class(kind) else kind


def is_kept_class(kind: type[nn.Module]) -> bool:
    """Return whether a class was made by `kept_class`, guarded or not."""
    return "_kept_in_eval" in vars(unguarded_class(kind))


def _new_object(given: type[nn.Module]) -> nn.Module:
    kind = kept_class(given)
    return kind.__new__(kind)
