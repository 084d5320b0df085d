"""Layers whose statistics stand still while `frozen_statistics` is open: the class they have then.

It lies outermost: a rewrite that changes a layer's class, or takes that back, changes the class
below it, so that the layer is guarded exactly as long as the context is open.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

COUNTER = "num_batches_tracked"
STATISTICS = ("running_mean", "running_var", COUNTER)
# Class of a layer → the same whose statistics stand still.
_CLASSES: dict[type[nn.Module], type[nn.Module]] = {}


def give_class(module: nn.Module, kind: type[nn.Module]) -> None:
    """Make a class that of a module, which stays guarded if it is.

    A function, so that what undoes a rewrite can be pickled.
    """
    is_guarded = type(module) is not unguarded_class(type(module))
    kind = unguarded_class(kind)
    module.__class__ = guarded_class(kind) if is_guarded else kind


def unguarded_class(kind: type[nn.Module]) -> type[nn.Module]:
    """Return the class that a class of `guarded_class` was made of; any other as it is."""
    given: type[nn.Module] = vars(kind).get("_guarded_class", kind)
    return given


def guarded_class(given: type[nn.Module]) -> type[nn.Module]:
    """Return a subclass whose instances read copies of their statistics and write none."""
    if given in _CLASSES:
        return _CLASSES[given]

    def set_attribute(self: Any, name: str, value: Any) -> None:
        if name not in STATISTICS:
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
        **{name: property(_reader(name)) for name in STATISTICS},
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
                is_divisor = name == COUNTER and vars(self).get("momentum") is None
                return value.detach().clamp(min=1) if is_divisor else value.detach().clone()
        raise AttributeError(name)

    return read


def _new_object(given: type[nn.Module]) -> nn.Module:
    return given.__new__(given)
