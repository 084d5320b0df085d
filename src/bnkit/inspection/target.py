"""`file.py:attribute` or `package.module:attribute` → the Python object."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from bnkit.errors import TargetError


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
    """Return the file that a target lives in, without running it.

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
    with _importable(folder):
        try:
            spec = importlib.util.find_spec(place)
        except (ImportError, ValueError):
            spec = None
    if spec is None or spec.origin is None:
        raise TargetError(
            f"{text}: there is no module {place!r}",
            required="file.py:attribute or package.module:attribute",
            remedy="Check the spelling, or install the package",
        )
    return Path(spec.origin)


def load_target(text: str, folder: Path) -> Any:
    """Import the target's file or module and return the attribute.

    A file is imported under a name made from its path, with its own folder on the import path, so
    that it can import its neighbours.

    Raises:
        TargetError: the form is wrong, the file or module is missing or fails to import, or it has
            no such attribute.
    """
    source = find_source(text, folder)
    place, attribute = _split(text)
    try:
        with _importable(source.parent if place.endswith(".py") else folder):
            module = _import_file(source) if place.endswith(".py") else _import_module(place)
    except Exception as error:
        raise TargetError(
            f"{text}: importing {source} raised {type(error).__name__}: {error}",
            remedy="Mend the file; it must import without errors",
        ) from error
    value: Any = module
    for part in attribute.split("."):
        if not hasattr(value, part):
            near = get_close_matches(part, [n for n in dir(value) if not n.startswith("_")], n=1)
            raise TargetError(
                f"{text}: {source.name} has no attribute {part!r}",
                required="the name after the colon must be defined there",
                remedy=f"Did you mean {near[0]!r}?" if near else "",
            )
        value = getattr(value, part)
    return value


def _split(text: str) -> tuple[str, str]:
    place, _, attribute = text.rpartition(":")
    if not place or not attribute:
        raise TargetError(
            f"got {text!r}",
            required="a target has the form file.py:attribute or package.module:attribute",
        )
    return place, attribute


def _import_module(name: str) -> ModuleType:
    return importlib.import_module(name)


def _import_file(path: Path) -> ModuleType:
    digest = hashlib.sha256(str(path).encode() + path.read_bytes()).hexdigest()[:12]
    name = f"_bnkit_target_{path.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Put a folder first on the import path for a while; the user's path is left as it was."""
    entry = str(folder.resolve())
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        sys.path.remove(entry)


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f"There is no folder {path.parent}"
    near = get_close_matches(path.name, [p.name for p in path.parent.glob("*.py")], n=1)
    return f"Did you mean {near[0]}?" if near else "Check the path"
