"""`[tool.bnkit]` in the user's pyproject.toml: defaults of `bnkit check`. Imports no torch."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bnkit.errors import CheckError, did_you_mean

# Key → the types that its value may have.
_KEYS: dict[str, tuple[type, ...]] = {
    "batch-size": (int,),
    "data": (str, dict),
    "example": (str,),
    "format": (str,),
    "ignore": (list,),
    "select": (list,),
    "shape": (str, list),
    "silence": (list,),
    "thresholds": (dict,),
    "weights": (str,),
}
_WORDS = {int: "a whole number", str: "text", list: "a list", dict: "a table"}


@dataclass(frozen=True)
class Settings:
    """What `[tool.bnkit]` says.

    Attributes:
        folder: where the file lies; its paths are relative to it.
        values: key → value, checked for their types.
    """

    folder: Path
    values: Mapping[str, Any] = field(default_factory=dict)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or the default."""
        assert key in _KEYS, key
        return self.values.get(key, default)

    def path(self, key: str) -> Path | None:
        """Return a path, relative to the file's folder; None if the key is missing."""
        value = self.get(key)
        return None if value is None else self.folder / Path(value).expanduser()


def read_settings(folder: Path) -> Settings:
    """Return what the nearest pyproject.toml with a `[tool.bnkit]`, in or above a folder, says.

    Raises:
        CheckError: the file is not TOML, or a key is unknown or has a value of another type.
    """
    folder = folder.resolve()
    for place in (folder, *folder.parents):
        file = place / "pyproject.toml"
        if not file.is_file():
            continue
        try:
            content = tomllib.loads(file.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise CheckError(f"cannot be read: {error}", where=str(file)) from error
        table = content.get("tool", {}).get("bnkit")
        if table is not None:
            _check(table, file)
            return Settings(place, table)
    return Settings(folder)


def _check(table: Any, file: Path) -> None:
    where = f"{file}, [tool.bnkit]"
    if not isinstance(table, dict):
        raise CheckError("tool.bnkit is no table", where=str(file))
    for key, value in table.items():
        if key not in _KEYS:
            raise CheckError(
                f"unknown key {key!r}",
                required=f"one of {', '.join(_KEYS)}",
                remedy=did_you_mean(key, _KEYS),
                where=where,
            )
        if not isinstance(value, _KEYS[key]) or isinstance(value, bool):
            kinds = " or ".join(_WORDS[kind] for kind in _KEYS[key])
            raise CheckError(f"{key} = {value!r}", required=f"it must be {kinds}", where=where)
