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
from bnkit.inspection.private_package import enclosing_package, is_installed
from bnkit.inspection.target import find_source

MAX_FILES = 1000
_BNKIT = Path(__file__).resolve().parents[1]


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
    top = enclosing_package(source.parent)
    if is_installed(source) and top is not None and not _is_of_bnkit(source):
        return [source, *sorted(set(top.rglob("*.py")) - {source})]
    return imported_sources(source, module)


def imported_sources(source: Path, module: str = "") -> list[Path]:
    """Return a file and, transitively, the files near it that it imports; the file comes first.

    Near means: in the file's own folder, or in the folder that holds its outermost package. All
    import statements are followed, those inside functions included. Not followed are modules named
    at run time, folders that the file itself adds to the import path, files of data, installed
    packages, and bnkit.

    Args:
        source: the file.
        module: its dotted name, if it is imported by one.

    Raises:
        TargetError: there are more than `MAX_FILES`.
    """
    if is_installed(source) or _is_of_bnkit(source):
        return [source]
    named = _module_root(source, module)
    roots = _roots(source, named)
    # The packages above a module run before it.
    above = _files_of(named, module.split(".")) if named else []
    found = list(dict.fromkeys([source, *above]))
    for file in found:
        found.extend(dict.fromkeys(f for f in _imports(file, roots) if f not in found))
        if len(found) > MAX_FILES:
            raise TargetError(
                f"{source} imports more than {MAX_FILES} files of {roots[-1]}",
                required="they are read at every run, to notice what has changed",
                remedy="Give the network a folder of its own, or install what it imports",
            )
    return found


def content_hash(files: Sequence[Path]) -> str:
    """Return a hash of files' contents and of where they lie as seen from the first of them.

    The first file's name does not count, nor does the folder that they lie in.
    """
    first, *others = files
    places = {Path(os.path.relpath(file, first.parent)).as_posix(): file for file in others}
    whole = hashlib.sha256(hashlib.sha256(first.read_bytes()).digest())
    for place in sorted(places):
        whole.update(
            f"{place}\n{hashlib.sha256(places[place].read_bytes()).hexdigest()}\n".encode()
        )
    return whole.hexdigest()


def _is_of_bnkit(file: Path) -> bool:
    return file.resolve().is_relative_to(_BNKIT)


def _roots(source: Path, named: Path | None) -> list[Path]:
    """Return the folders that a file's absolute imports may be found in, the nearest first."""
    top = enclosing_package(source.parent)
    roots = [source.parent, *([top.parent] if top else [])]
    return list(dict.fromkeys([*roots, *([named] if named else [])]))


def _module_root(source: Path, module: str) -> Path | None:
    """Return the folder that a dotted name counts from, if it names this file."""
    parts = tuple(module.split("."))
    place = source.parent if source.stem == "__init__" else source.with_suffix("")
    if place.parts[-len(parts) :] != parts:
        return None
    return place.parents[len(parts) - 1]


def _imports(file: Path, roots: Sequence[Path]) -> Iterator[Path]:
    if file.suffix != ".py":
        return
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return  # importing it will say what is wrong
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _resolved(alias.name.split("."), roots)
        elif isinstance(node, ast.ImportFrom):
            module = node.module.split(".") if node.module else []
            places = [file.parents[node.level - 1]] if node.level else roots
            if any(place.is_relative_to(root) for place in places for root in roots):
                for alias in node.names:
                    yield from _resolved([*module, alias.name], places)


def _resolved(parts: Sequence[str], places: Sequence[Path]) -> list[Path]:
    files = next((found for place in places if (found := _files_of(place, parts))), [])
    return [file for file in files if not is_installed(file) and not _is_of_bnkit(file)]


def _files_of(folder: Path, parts: Sequence[str]) -> list[Path]:
    """Return the files that importing a dotted name from a folder runs, in Python's order."""
    files: list[Path] = []
    for part in parts:
        package = folder / part / "__init__.py"
        module = _module_file(folder, part)
        if package.is_file():
            files.append(package)
        elif module is not None:
            return [*files, module]
        folder = folder / part
        if not folder.is_dir():
            break
    return files


def _module_file(folder: Path, name: str) -> Path | None:
    candidates = (folder / f"{name}{suffix}" for suffix in (*EXTENSION_SUFFIXES, ".py"))
    return next((file for file in candidates if file.is_file()), None)
