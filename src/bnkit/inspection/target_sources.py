"""The files that a target's code stands in: its own, and those of the user that it imports.

Import statements are read, not run, so that a finished study is recognised without loading torch.
"""

from __future__ import annotations

import ast
import hashlib
import os
from collections.abc import Iterator, Sequence
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from bnkit.errors import TargetError
from bnkit.inspection.target import enclosing_package, find_source, is_installed

MAX_FILES = 1000


def target_sources(text: str, folder: Path) -> list[Path]:
    """Return the files that a target's code stands in, the target's own first.

    For a package that is installed these are all of its own Python files, imported or not, and none
    of another package. For bnkit itself it is the target's file alone.

    Raises:
        TargetError: there is no such target, or it imports more than `MAX_FILES` files.
    """
    source = find_source(text, folder)
    module = text.rpartition(":")[0]
    if module.endswith(".py"):
        return imported_sources(source)
    if is_installed(source) and module.partition(".")[0] != "bnkit":
        top = enclosing_package(source.parent)
        return [source, *(sorted(set(top.rglob("*.py")) - {source}) if top else [])]
    return imported_sources(source, module)


def imported_sources(source: Path, module: str = "") -> list[Path]:
    """Return a file and, transitively, the files near it that it imports; the file comes first.

    Near are its own folder and the folders that its imports are found in: the one that holds its
    outermost package. Followed are import statements, those inside functions included; not
    followed are names computed at run time, folders that the file adds to the import path itself,
    files of data, and what is installed.

    Args:
        source: the file.
        module: its dotted name, if it is imported by that.

    Raises:
        TargetError: they are more than `MAX_FILES`.
    """
    roots = _roots(source, module)
    found = [source]
    known = {source}
    if is_installed(source) or any((root / "bnkit" / "errors.py") in source.parents for root in ()):
        return found
    for file in found:
        for imported in _imports(file, roots):
            if imported not in known:
                known.add(imported)
                found.append(imported)
        if len(found) > MAX_FILES:
            raise TargetError(
                f"{source} imports more than {MAX_FILES} files of {roots[-1]}",
                required="its files are read at every run, to notice what has changed",
                remedy="Give the network a folder of its own, or install what it imports",
            )
    return found
