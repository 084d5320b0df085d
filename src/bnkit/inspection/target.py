"""`file.py:attribute` or `package.module:attribute` → the Python object."""

from __future__ import annotations

import importlib
import sys
from difflib import get_close_matches
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from bnkit.errors import TargetError
from bnkit.inspection.private_package import (
    digest,
    find_below,
    import_file,
    importable,
    is_installed,
    own_words,
)


def is_target(text: str) -> bool:
    """Return whether `text` has the form of a target: something, a colon, an attribute."""
    place, colon, attribute = text.rpartition(":")
    return bool(place and colon and attribute)


def resolve_target(text: str, folder: Path) -> str:
    """Return the target with a file's path made absolute; modules are returned as they are.

    Args:
        text: the target.
        folder: what a relative path is relative to.
    """
    place, _, attribute = text.rpartition(":")
    if not place.endswith(".py"):
        return text
    return f"{(folder / Path(place).expanduser()).resolve()}:{attribute}"


def find_source(text: str, folder: Path) -> Path:
    """Return the file that a target lives in; neither it nor the packages above it are run.

    Raises:
        TargetError: the form is wrong, or there is no such file or module.
    """
    place = _split(text)[0]
    if place.endswith(".py"):
        path = (folder / Path(place).expanduser()).resolve()
        if not path.is_file():
            raise TargetError(
                f"{text}: there is no file {path}",
                required="a target names an existing .py file, relative to the study file or the "
                "current folder",
                remedy=_nearest_file(path),
            )
        return path
    with importable(folder):
        spec = _find_module(place)
    if spec is None:
        raise TargetError(
            f"{text}: there is no module {place!r}",
            required="file.py:attribute or package.module:attribute",
            remedy="Check the spelling, or install the package",
        )
    if spec.origin is None or not spec.has_location:
        raise TargetError(
            f"{text}: the module {place!r} has no file",
            required="a target stands in a file, so that a change of it can be noticed",
            remedy="Name a module of your own, or file.py:attribute",
        )
    return Path(spec.origin)


def load_target(text: str, folder: Path) -> Any:
    """Import the target's file or module and return the attribute.

    A file can import its neighbours. It is imported anew when it or one of them has changed.

    Raises:
        TargetError: the form is wrong, the file or module is missing or fails to import, it has no
            such attribute, or this process holds a module that is not what its file says now.
    """
    source = find_source(text, folder)
    place, attribute = _split(text)
    try:
        if place.endswith(".py"):
            value: Any = import_file(source)
        else:
            with importable(folder):
                value = importlib.import_module(place)
    except (Exception, SystemExit) as error:
        raise TargetError(
            f"{text}: importing {source} raised {type(error).__name__}: {own_words(error)}",
            required="it must import without errors",
            remedy="Mend the file; what it does as a script belongs under "
            "`if __name__ == '__main__':`",
        ) from error
    if not place.endswith(".py"):
        _refuse_other_content(text, value, source)
    for part in attribute.split("."):
        value = _attribute(text, source, value, part)
    return value


def _split(text: str) -> tuple[str, str]:
    place, _, attribute = text.rpartition(":")
    if not place or not attribute:
        raise TargetError(
            f"got {text!r}",
            required="a target has the form file.py:attribute or package.module:attribute",
        )
    return place, attribute


def _attribute(text: str, source: Path, value: Any, part: str) -> Any:
    try:
        return getattr(value, part)
    except AttributeError as error:
        near = get_close_matches(part, [n for n in dir(value) if not n.startswith("_")], n=1)
        raise TargetError(
            f"{text}: {source.name} has no attribute {part!r}",
            required="the name after the colon must be defined there",
            remedy=f"Did you mean {near[0]!r}?" if near else "",
        ) from error
    except (Exception, SystemExit) as error:
        # A package may import its parts only when they are asked for.
        raise TargetError(
            f"{text}: reading {part!r} raised {type(error).__name__}: {own_words(error)}",
            remedy="Mend the file; it must import without errors",
        ) from error


def _find_module(name: str) -> ModuleSpec | None:
    """Find a module by the import path alone: `importlib.util.find_spec` would run its package."""
    importlib.invalidate_caches()
    spec: ModuleSpec | None = None
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        path = None if spec is None else spec.submodule_search_locations
        if not parts[depth - 1] or (spec is not None and path is None):
            return None
        spec = find_below(".".join(parts[:depth]), path)
        if spec is None:
            return None
    return spec


# File of a user's package → the hash of its content when it was first seen imported.
_seen: dict[str, str] = {}


def _refuse_other_content(text: str, module: ModuleType, source: Path) -> None:
    """Refuse a package that this process imported from elsewhere, or before it was changed.

    Python imports a package once per process. Results of the old code would be stored as results
    of the new.
    """
    file = getattr(module, "__file__", None)
    if file is None or Path(file).resolve() != source.resolve():
        raise TargetError(
            f"{text}: this process has imported another module of that name, from {file}",
            required=f"the module that lies in {source}",
            remedy="Restart Python, or name the file, as file.py:attribute",
        )
    top = module.__name__.partition(".")[0]
    for name, loaded in list(sys.modules.items()):
        file = getattr(loaded, "__file__", None)
        if name.partition(".")[0] != top or file is None or is_installed(Path(file)):
            continue
        if Path(file).is_file() and _seen.setdefault(file, digest(file)) != digest(file):
            raise TargetError(
                f"{text}: {file} has changed since this process imported it",
                required="Python imports a package once per process",
                remedy="Restart Python, or name the file, as file.py:attribute",
            )


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f"There is no folder {path.parent}"
    near = get_close_matches(path.name, [p.name for p in path.parent.glob("*.py")], n=1)
    return f"Did you mean {near[0]}?" if near else "Check the path"
