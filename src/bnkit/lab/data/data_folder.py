"""The folder that data sets lie in, and what lies there up to three folders deep."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bnkit.errors import DataError

DATA_DIR_VARIABLE = "BNKIT_DATA_DIR"
DEPTH = 3


def data_folder(given: str | Path | None = None) -> Path:
    """Return the folder of data sets: the one given, else BNKIT_DATA_DIR's, else the user's cache.

    Raises:
        DataError: the folder given, or named by the variable, is none.
    """
    variable = os.environ.get(DATA_DIR_VARIABLE, "")
    if given is None and not variable:
        import pooch

        return Path(pooch.os_cache("bnkit"))
    folder = Path(given if given is not None else variable).expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise DataError(
            "is a file",
            required="the folder that data sets lie in, as "
            + ("--data-dir" if given is not None else DATA_DIR_VARIABLE),
            where=str(folder),
        )
    return folder


@dataclass(frozen=True)
class ListedFolder:
    """What lies in a folder: names → paths.

    Attributes:
        path: the folder.
        parts: its name and those of the folders above it, up to the data folder's own.
        files, folders: what it holds.
    """

    path: Path
    parts: tuple[str, ...]
    files: dict[str, Path]
    folders: dict[str, Path]


def folders_below(root: Path) -> Iterator[ListedFolder]:
    """Yield a folder and those below it, nearest first, up to three folders deep.

    Hidden folders are passed over, and so is what lies in train/ and test/: images by the thousand.
    Folders that cannot be read hold nothing.
    """
    level: list[tuple[Path, tuple[str, ...]]] = [(root, (root.name,))]
    for _ in range(DEPTH + 1):
        below = []
        for path, parts in level:
            listed = _listed(path, parts)
            yield listed
            below += [
                (folder, (*parts, name))
                for name, folder in listed.folders.items()
                if name.lower() not in ("train", "test")
            ]
        level = below


def _listed(path: Path, parts: tuple[str, ...]) -> ListedFolder:
    files: dict[str, Path] = {}
    folders: dict[str, Path] = {}
    try:
        entries = sorted(os.scandir(path), key=lambda entry: entry.name)
    except OSError:
        entries = []
    for entry in entries:
        if not entry.name.startswith((".", "__MACOSX")):
            (folders if entry.is_dir() else files)[entry.name] = path / entry.name
    return ListedFolder(path, parts, files, folders)
