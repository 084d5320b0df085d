"""Nested settings as plain dictionaries: dotted keys, and one table laid over another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

Settings = dict[str, Any]

# Keys that say what another key already says, or that belong to what `name` names: an override
# that changes the one must not inherit the other.
_REPLACED_BY_NAME = {
    "data": (
        "path",
        "image_size",
        "colour",
        "mean",
        "std",
        "test_share",
        "split_seed",
    ),
    "network": ("args",),
    "training.optimizer": ("lr", "momentum", "nesterov", "betas"),
}
_EXCLUSIVE = {"training": ("epochs", "steps")}


def plain(value: Any) -> Any:
    """Return settings given from Python as a TOML file would hold them.

    NumPy's numbers become Python's, tuples and arrays lists, paths text; a key whose value is None
    is left out.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items() if item is not None}
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def expand(dotted: Mapping[str, Any]) -> Settings:
    """Turn {"training.optimizer.lr": 0.1} into {"training": {"optimizer": {"lr": 0.1}}}."""
    nested: Settings = {}
    for key, value in dotted.items():
        *tables, last = key.split(".")
        inner = nested
        for table in tables:
            # A copy: a table given as a value stays what the caller made it.
            inner[table] = dict(inner[table]) if isinstance(inner.get(table), Mapping) else {}
            inner = inner[table]
        inner[last] = value
    return nested


def overlay(below: Mapping[str, Any], above: Mapping[str, Any], path: str = "") -> Settings:
    """Return `below` with `above` merged into it, table by table; neither is changed.

    Where `above` names another data set, network or optimizer, keys that belonged to the old one
    are dropped; where it gives `steps`, `epochs` is dropped, and the other way round.
    """
    result = dict(below)
    for key in _superseded(below, above, path):
        result.pop(key, None)
    for key, value in above.items():
        old = result.get(key)
        inner = f"{path}.{key}" if path else key
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            result[key] = overlay(old, value, inner)
        else:
            result[key] = value
    return result


def _superseded(below: Mapping[str, Any], above: Mapping[str, Any], path: str) -> set[str]:
    dropped: set[str] = set()
    if "name" in above and above["name"] != below.get("name"):
        dropped |= set(_REPLACED_BY_NAME.get(path, ()))
    exclusive = set(_EXCLUSIVE.get(path, ()))
    if exclusive & set(above):
        dropped |= exclusive - set(above)
    return dropped


def without(settings: Mapping[str, Any], dotted: str) -> Settings:
    """Return settings without a dotted key and without keys that cannot stand beside it."""
    table, _, key = dotted.rpartition(".")
    exclusive = _EXCLUSIVE.get(table, ())
    for name in exclusive if key in exclusive else (key,):
        settings = remove(settings, f"{table}.{name}" if table else name)
    return dict(settings)


def collide(one: str, other: str) -> bool:
    """Return whether two dotted keys are the same, one inside the other, or exclude each other."""
    table, _, key = one.rpartition(".")
    other_table, _, other_key = other.rpartition(".")
    exclude = table == other_table and {key, other_key} <= set(_EXCLUSIVE.get(table, ()))
    return (
        exclude
        or one == other
        or f"{one}.".startswith(f"{other}.")
        or (f"{other}.".startswith(f"{one}."))
    )


def remove(settings: Mapping[str, Any], dotted: str) -> Settings:
    """Return the settings without one dotted key; tables left empty are kept."""
    head, _, rest = dotted.partition(".")
    result = dict(settings)
    if not rest:
        result.pop(head, None)
    elif isinstance(result.get(head), Mapping):
        result[head] = remove(result[head], rest)
    return result
