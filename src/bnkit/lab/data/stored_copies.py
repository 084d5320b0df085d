"""Finding a stored data set by its official file names; no file is opened."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bnkit.errors import DataError
from bnkit.lab.data.data_folder import DATA_DIR_VARIABLE, DEPTH, ListedFolder, folders_below
from bnkit.lab.data.stored_sets import (
    CIFAR_10,
    CIFAR_BATCHES,
    CIFAR_BINARY,
    CIFAR_PYTHON,
    HINDI_ARCHIVES,
    HINDI_DIGITS,
    MNIST,
    STORED_SETS,
)

EMBEDDED_STUDY = "digits"

# These sets use MNIST's file names.
_NOT_MNIST = re.compile("fashion|kmnist|kuzushiji|notmnist", re.IGNORECASE)
_HINDI = re.compile("hindi|nagari", re.IGNORECASE)
DIGIT_FOLDER = re.compile("(?:digit_)?([0-9])")


@dataclass(frozen=True)
class StoredCopy:
    """A data set that was found.

    Attributes:
        place: the folder or archive that holds it.
        files: official name → file; a set of many image files has none here.
        missing: official names that are not there, though others are.
    """

    place: Path
    files: dict[str, Path]
    missing: tuple[str, ...] = ()


def find_copy(name: str, folder: Path) -> StoredCopy | None:
    """Return where a stored data set lies in a folder, up to three folders deep; None if nowhere.

    Of several copies the most complete is taken, then the one that is quickest to read, then the
    nearest.

    Args:
        name: of `STORED_SETS`.
        folder: the data folder.
    """
    found = [copy for below in folders_below(folder) for copy in _FINDERS[name](below)]
    return min(found, key=lambda copy: len(copy.missing), default=None)


def require_copy(name: str, folder: Path) -> StoredCopy:
    """Return where a stored data set lies.

    Raises:
        DataError: it is not there; the message says how to get it and what to run without it.
    """
    copy = find_copy(name, folder)
    if copy is None:
        raise absent(name, folder)
    return copy


def absent(name: str, folder: Path, missing: str = "") -> DataError:
    """Return the error for a data set that is not in the data folder.

    Args:
        name: of `STORED_SETS`.
        folder: where it was looked for.
        missing: what of it is not there; empty for all of it.
    """
    stored = STORED_SETS[name]
    get = f"Run `bnkit data fetch {name}`, or copy them there" if stored.downloads else ""
    nowhere = f"is not in {folder}, up to {DEPTH} folders deep"
    if not folder.is_dir():
        nowhere = f"the data folder {folder} does not exist"
    return DataError(
        missing or nowhere,
        required=stored.wanted,
        remedy=(get or f"Copy it there: {stored.by_hand}")
        + f"; another folder is named by --data-dir or {DATA_DIR_VARIABLE}. "
        f"`bnkit study run {EMBEDDED_STUDY}` needs no files",
        where=f"data {name}",
    )


def _find_mnist(folder: ListedFolder) -> Iterator[StoredCopy]:
    if any(_NOT_MNIST.search(part) for part in folder.parts):
        return
    names = [file.name for file in STORED_SETS[MNIST].files]
    files: dict[str, Path] = {}
    for name in names:
        # Some tools write train-images.idx3-ubyte.
        spellings = (name, name.replace("-idx", ".idx"))
        for spelling in (*spellings, *(f"{spelling}.gz" for spelling in spellings)):
            if spelling in folder.files:
                files.setdefault(name, folder.files[spelling])
    if files:
        yield StoredCopy(folder.path, files, tuple(name for name in names if name not in files))


def _find_cifar(folder: ListedFolder) -> Iterator[StoredCopy]:
    for ending in (".bin", ""):
        names = [f"{name}{ending}" for name in CIFAR_BATCHES]
        files = {name: folder.files[name] for name in names if name in folder.files}
        if files:
            yield StoredCopy(folder.path, files, tuple(name for name in names if name not in files))
    for archive in (CIFAR_BINARY, CIFAR_PYTHON):
        if archive in folder.files:
            yield StoredCopy(folder.files[archive], {archive: folder.files[archive]})


def _find_hindi(folder: ListedFolder) -> Iterator[StoredCopy]:
    splits = {name.lower(): path for name, path in folder.folders.items()}
    if "train" in splits and "test" in splits:
        named = any(_HINDI.search(part) for part in folder.parts)
        # Folders named 0 … 9 could be any digits; only their surroundings say which.
        pattern = "{}" if named and (splits["train"] / "0").is_dir() else "digit_{}"
        digits = [pattern.format(digit) for digit in range(10)]
        wanted = [splits[split] / digit for split in ("train", "test") for digit in digits]
        missing = [f"{path.parent.name}/{path.name}" for path in wanted if not path.is_dir()]
        if len(missing) < len(wanted):
            yield StoredCopy(folder.path, {}, tuple(missing))
    for archive in HINDI_ARCHIVES:
        if archive in folder.files:
            yield StoredCopy(folder.files[archive], {archive: folder.files[archive]})


_FINDERS: dict[str, Callable[[ListedFolder], Iterator[StoredCopy]]] = {
    MNIST: _find_mnist,
    CIFAR_10: _find_cifar,
    HINDI_DIGITS: _find_hindi,
}
