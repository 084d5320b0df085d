"""Taking out of texts what concerns one machine alone: paths, and the name of its kernel build."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

# An absolute path of either kind, up to its last part, which stays.
_FOLDERS = re.compile(r"(?<![\w.~/\\-])(?:~?/|[A-Za-z]:[\\/])(?:[^\s'\"(),;/\\]+[\\/])+")
_LONE_ROOT = re.compile(r"(?<![\w.~/\\-])/(?=[\w.~-])")
# Options that say where and how something ran, and not what.
_DROPPED = ("--out", "--workers", "--format")
_DROPPED_FLAGS = ("--quiet", "--strict")
DATA_FOLDER = "DIR"


def without_paths(value: Any) -> Any:
    """Return plain data with each absolute path in its texts cut to the last part."""
    if isinstance(value, str):
        return _LONE_ROOT.sub("", _FOLDERS.sub("", value))
    if isinstance(value, Mapping):
        return {key: without_paths(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(inner) for inner in value]
    return value


def public_command(command: str) -> str:
    """Return a command as anybody can give it: without folders of its own and how it was shown.

    A folder of data becomes `DIR`.
    """
    try:
        words = shlex.split(command)
    except ValueError:  # a call in Python
        return str(without_paths(command))
    if words[:1] != ["bnkit"]:
        return str(without_paths(command))
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        option, equals, _ = word.partition("=")
        if option in _DROPPED:
            if not equals:
                next(rest, None)
        elif option == "--data-dir":
            kept += ["--data-dir", DATA_FOLDER]
            if not equals:
                next(rest, None)
        elif word not in _DROPPED_FLAGS:
            kept.append(shlex.quote(str(without_paths(word))))
    return " ".join(kept)
