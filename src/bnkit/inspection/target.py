"""`file.py:attribute` or `package.module:attribute` → the Python object.

A file is imported as part of a private package made of its folder: `import blocks` in it means the
`blocks.py` beside it, whatever `blocks` this process has imported from elsewhere, at import time
and whenever its functions run. The process's own modules and import path stay as they are.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from bnkit.errors import TargetError

_PREFIX = "_bnkit_target_"


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
    with _importable(folder):
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
            value: Any = _import_file(source)
        else:
            with _importable(folder):
                value = importlib.import_module(place)
    except (Exception, SystemExit) as error:
        raise TargetError(
            f"{text}: importing {source} raised {type(error).__name__}: {_own_words(error)}",
            required="it must import without errors",
            remedy="Mend the file; what it does as a script belongs under "
            "`if __name__ == '__main__':`",
        ) from error
    if not place.endswith(".py"):
        _refuse_other_content(text, value, source)
    for part in attribute.split("."):
        value = _attribute(text, source, value, part)
    return value


def is_installed(path: Path) -> bool:
    """Return whether a file belongs to an installed package or to Python, not to the user."""
    if {"site-packages", "dist-packages"} & set(path.parts):
        return True
    return path.is_relative_to(Path(sysconfig.get_path("stdlib")).resolve())


def enclosing_package(folder: Path) -> Path | None:
    """Return the outermost package that a folder belongs to, by `__init__.py`; None if to none."""
    top = None
    while (folder / "__init__.py").is_file():
        top, folder = folder, folder.parent
    return top


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
            f"{text}: reading {part!r} raised {type(error).__name__}: {_own_words(error)}",
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
        spec = _find_below(".".join(parts[:depth]), path)
        if spec is None:
            return None
    return spec


def _find_below(name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    if path is not None:
        # By its last name: a dotted one would be looked up in packages that are not imported.
        found = PathFinder.find_spec(name.rpartition(".")[2], path)
        if found is not None:
            return found
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = find(name, path) if find else None
        if spec is not None:
            return spec
    return None


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
        if Path(file).is_file() and _seen.setdefault(file, _digest(file)) != _digest(file):
            raise TargetError(
                f"{text}: {file} has changed since this process imported it",
                required="Python imports a package once per process",
                remedy="Restart Python, or name the file, as file.py:attribute",
            )


@dataclass
class _PrivatePackage:
    """A folder as a package under a name of its own, for one target file.

    Attributes:
        name: of the package in `sys.modules`.
        source: the target's file.
        main: name of the module made from the target's file.
        read: file → hash of the content that was imported.
    """

    name: str
    source: Path
    main: str = field(init=False)
    read: dict[str, str] = field(default_factory=dict)
    _provided: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.main = f"{self.name}.{self.source.stem.replace('.', '_')}"
        # Import statements look up `__import__` among a module's builtins, so that these modules
        # alone see the folder.
        self.builtins = {**vars(builtins), "__import__": self._import}
        top = enclosing_package(self.source.parent)
        self._package = None if top is None or is_installed(top) else top

    def load(self) -> ModuleType:
        """Run the target's file as a module of this package."""
        package = ModuleType(self.name, f"The folder of {self.source}, private to that file.")
        package.__path__ = [str(self.source.parent)]
        if self._package is not None:
            package.__path__.append(str(self._package.parent))
        spec = spec_from_file_location(
            self.main, self.source, loader=_PrivateLoader(self.main, str(self.source), self)
        )
        if spec is None or spec.loader is None:
            raise ImportError(f"{self.source} is not a Python file")
        module = module_from_spec(spec)
        _packages[self.name] = self
        sys.modules[self.name], sys.modules[self.main] = package, module
        spec.loader.exec_module(module)
        setattr(package, self.main.rpartition(".")[2], module)
        return module

    def unload(self) -> None:
        """Forget a package whose target failed to import."""
        for name in [n for n in sys.modules if n == self.name or n.startswith(f"{self.name}.")]:
            del sys.modules[name]
        _packages.pop(self.name, None)

    def is_current(self) -> bool:
        """Return whether every file that was imported still has the content it had."""
        return all(Path(file).is_file() and _digest(file) == was for file, was in self.read.items())

    def provides(self, name: str) -> bool:
        """Return whether a top-level name means a module of the folder."""
        if name not in self._provided:
            self._provided[name] = self._lies_here(name)
        return self._provided[name]

    def _lies_here(self, name: str) -> bool:
        # A second copy of bnkit would have layers and errors that the first does not know.
        if name == "bnkit" or name in sys.builtin_module_names:
            return False
        if self._package is not None and name == self._package.name:
            return True
        spec = PathFinder.find_spec(name, [str(self.source.parent)])
        if spec is None or spec.origin is not None:
            return spec is not None
        # A folder without __init__.py gives way to a package of that name anywhere else.
        elsewhere = _find_below(name, None)
        return elsewhere is None or elsewhere.origin is None

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        top = name.partition(".")[0]
        if level or not self.provides(top):
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        module = builtins.__import__(f"{self.name}.{name}", globals, locals, fromlist or (), 0)
        return module if fromlist else sys.modules[f"{self.name}.{top}"]


# Name in `sys.modules` → private package; earlier contents of a file keep theirs, because objects
# made from them may still be pickled or inspected.
_packages: dict[str, _PrivatePackage] = {}


class _PrivateLoader(SourceFileLoader):
    """Run a file of a private package with that package's import statement.

    Bytecode caches are passed by: they cannot tell two contents of equal length written within one
    second apart.
    """

    def __init__(self, name: str, path: str, package: _PrivatePackage) -> None:
        super().__init__(name, path)
        self._package = package

    def get_code(self, fullname: str) -> Any:  # noqa: ARG002
        content = self.get_data(self.path)
        self._package.read[self.path] = hashlib.sha256(content).hexdigest()
        return self.source_to_code(content, self.path)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = self._package.builtins
        super().exec_module(module)


class _PrivateFinder(MetaPathFinder):
    """Find the modules of private packages."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package = _packages.get(fullname.partition(".")[0])
        if package is None or path is None:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _PrivateLoader(fullname, spec.loader.path, package)
        return spec


def _import_file(path: Path) -> ModuleType:
    for package in _packages.values():
        if package.source == path and package.is_current():
            return sys.modules[package.main]
    importlib.invalidate_caches()
    if not any(isinstance(finder, _PrivateFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _PrivateFinder())
    digest = hashlib.sha256(str(path).encode() + path.read_bytes()).hexdigest()[:12]
    earlier = sum(package.source == path for package in _packages.values())
    package = _PrivatePackage(f"{_PREFIX}{path.stem.replace('.', '_')}_{digest}_{earlier}", path)
    before = set(sys.modules)
    try:
        with _importable(path.parent):
            return package.load()
    except BaseException:
        package.unload()
        raise
    finally:
        # What a file imports by other means than the import statement has the folder's plain names.
        for name in set(sys.modules) - before:
            if not name.startswith(_PREFIX) and package.provides(name.partition(".")[0]):
                del sys.modules[name]


def _own_words(error: BaseException) -> str:
    """Return an error's message with the names of modules as the user wrote them."""
    text = str(error)
    for name in [m for m in text.replace("'", " ").split() if m.startswith(_PREFIX)]:
        text = text.replace(name, name.partition(".")[2] or name)
    return text


def _digest(file: str) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


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
