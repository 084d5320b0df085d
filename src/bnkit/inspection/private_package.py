"""A file of the user's, imported as part of a private package.

`import blocks` in it means the `blocks.py` beside it, whatever `blocks` this process has imported
from elsewhere, at import time and whenever its functions run. A file of a package is imported as
Python would import it, its packages first, under a private root. The process's own modules and
import path stay as they are.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib
import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

_PREFIX = "_bnkit_target_"


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
        # Import statements look up `__import__` among a module's builtins, so that these modules
        # alone see the folder.
        self.builtins = {**vars(builtins), "__import__": self._import}
        top = enclosing_package(self.source.parent)
        self._package = None if top is None or is_installed(top) else top
        self.main = f"{self.name}.{'.'.join(self._dotted())}"

    def _dotted(self) -> list[str]:
        """Return the names of the packages and of the module that the file is."""
        stem = self.source.stem.replace(".", "_")
        if self._package is None:
            return [stem]
        folders = self.source.parent.relative_to(self._package.parent).parts
        return [*folders, *([stem] if stem != "__init__" else [])]

    def load(self) -> ModuleType:
        """Run the target's file as a module of this package."""
        root = ModuleType(self.name, f"What {self.source} imports, private to that file.")
        root.__path__ = [str(self.source.parent)]
        _packages[self.name] = self
        sys.modules[self.name] = root
        if self._package is not None:
            root.__path__.insert(0, str(self._package.parent))
            return importlib.import_module(self.main)
        return self._load_alone(root)

    def _load_alone(self, root: ModuleType) -> ModuleType:
        """Run a file that belongs to no package; its name need not be an identifier."""
        spec = spec_from_file_location(
            self.main, self.source, loader=_PrivateLoader(self.main, str(self.source), self)
        )
        if spec is None or spec.loader is None:
            raise ImportError(f"{self.source} is not a Python file")
        module = module_from_spec(spec)
        sys.modules[self.main] = module
        spec.loader.exec_module(module)
        setattr(root, self.main.rpartition(".")[2], module)
        return module

    def unload(self) -> None:
        """Forget a package whose target failed to import."""
        for name in [n for n in sys.modules if n == self.name or n.startswith(f"{self.name}.")]:
            del sys.modules[name]
        _packages.pop(self.name, None)

    def is_current(self) -> bool:
        """Return whether every file that was imported still has the content it had."""
        return all(Path(file).is_file() and digest(file) == was for file, was in self.read.items())

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
        elsewhere = find_below(name, None)
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


def import_file(path: Path) -> ModuleType:
    """Return the module of a file, imported anew if a file that it imported has changed."""
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
        with importable(path.parent):
            return package.load()
    except BaseException:
        package.unload()
        raise
    finally:
        # What a file imports by other means than the import statement has the folder's plain names.
        for name in set(sys.modules) - before:
            if not name.startswith(_PREFIX) and package.provides(name.partition(".")[0]):
                del sys.modules[name]


def own_words(error: BaseException) -> str:
    """Return an error's message with the names of modules as the user wrote them."""
    # A bare private name stands for the folder of the file.
    text = re.sub(rf"{_PREFIX}\w+\.(?=\w)", "", str(error))
    return re.sub(rf"{_PREFIX}\w+", "its folder", text)


def digest(file: str) -> str:
    """Return a hash of a file's content."""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Put a folder first on the import path for a while; the user's path is left as it was."""
    entry = str(folder.resolve())
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        sys.path.remove(entry)


def find_below(name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    """Find a module in the folders of its package, or by the import path; nothing is run."""
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
