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
        "scaling",
        "test_share",
        "split_seed",
        "train_examples",
        "test_examples",
    ),
    "network": ("args",),
    "network.init": ("std", "distribution"),
    "training.optimizer": ("lr", "momentum", "nesterov", "betas"),
    "training.schedule": ("every", "unit", "factor", "warmup", "final"),
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


def overlay(
    below: Mapping[str, Any], above: Mapping[str, Any], path: str = "", *, by_name: bool = True
) -> Settings:
    """Return `below` with `above` merged into it, table by table; neither is changed.

    Where `above` names another data set, network or optimizer, keys that belonged to the old one
    are dropped, unless `by_name` is False, as for a grid, which varies one key and no other. Where
    it gives `steps`, `epochs` is dropped, and the other way round.
    """
    result = dict(below)
    for key in _superseded(below, above, path, by_name):
        result.pop(key, None)
    for key, value in above.items():
        old = result.get(key)
        inner = f"{path}.{key}" if path else key
        if isinstance(old, str) and isinstance(value, Mapping) and inner in _REPLACED_BY_NAME:
            old = {"name": old}  # such as network.init = "he"
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            result[key] = overlay(old, value, inner, by_name=by_name)
        else:
            result[key] = value
    return result


def _superseded(
    below: Mapping[str, Any], above: Mapping[str, Any], path: str, by_name: bool
) -> set[str]:
    dropped: set[str] = set()
    if by_name and "name" in above and above["name"] != below.get("name"):
        dropped |= set(_REPLACED_BY_NAME.get(path, ()))
    exclusive = set(_EXCLUSIVE.get(path, ()))
    if exclusive & set(above):
        dropped |= exclusive - set(above)
    return dropped


def leaves_grid(grid_key: str, overridden: str) -> bool:
    """Return whether a grid key has nothing left to vary once another key is overridden.

    That is so if it is the same key or lies inside it, if the two exclude each other, or if the
    override names another data set, network or optimizer, to which the key no longer belongs.
    """
    table, _, key = overridden.rpartition(".")
    grid_table, _, last = grid_key.rpartition(".")
    if f"{grid_key}.".startswith(f"{overridden}."):
        return True
    if table != grid_table:
        return False
    exclude = {key, last} <= set(_EXCLUSIVE.get(table, ()))
    return exclude or (key == "name" and last in _REPLACED_BY_NAME.get(table, ()))
