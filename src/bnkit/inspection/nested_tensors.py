"""Finds the tensors in whatever a model takes or returns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from types import ModuleType
from typing import Any

from torch import Tensor, nn


def tensors_in(value: Any) -> list[Tensor]:
    """Return the tensors in a nested value, in order.

    Looked into are mappings, tuples, lists, dataclasses, and the attributes of any other object
    that is neither callable nor a class; each object once, so that cycles end.
    """
    found: list[Tensor] = []
    _collect(value, found, {})
    return found


def _collect(value: Any, found: list[Tensor], seen: dict[int, Any]) -> None:
    if isinstance(value, Tensor):
        found.append(value)
        return
    if id(value) in seen:
        return
    # Kept, not only its id: an object that was made on access must not give its id to the next.
    seen[id(value)] = value
    for item in _items(value):
        _collect(item, found, seen)


def _items(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    if isinstance(value, tuple | list):
        return value
    if isinstance(value, type | ModuleType | nn.Module):
        return ()
    if is_dataclass(value):
        return [getattr(value, field.name) for field in fields(value) if hasattr(value, field.name)]
    attributes: dict[str, Any] = {} if callable(value) else getattr(value, "__dict__", {})
    return attributes.values()
