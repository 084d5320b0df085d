"""Which files of an image folder belong to which split and class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bnkit.errors import DataError
from bnkit.lab.data.class_labels import listed, sorted_names
from bnkit.lab.data.hashing import unreadable
from bnkit.lab.data.image_files import EXTENSIONS

# Written by operating systems and unpackers beside the files of the user.
_SYSTEM_NAMES = frozenset({"__macosx", "@eadir", "thumbs.db", "desktop.ini"})


class LabelledFile(NamedTuple):
    """An image file and the class it belongs to.

    Attributes:
        path: the file; of an archive's member, the archive's path and the member's name.
        label: index of the class.
        content: the file's bytes, if they were read already.
    """

    path: Path
    label: int
    content: bytes | None = None


@dataclass(frozen=True)
class FolderLayout:
    """The image files of a folder.

    Attributes:
        root: the folder.
        class_names: K names, index = label.
        train: the training files, or all files if `test` is None; by class, then by name.
        test: the test files, or None if the folder has no test split of its own.
        notes: sentences about what is not read.
    """

    root: Path
    class_names: tuple[str, ...]
    train: tuple[LabelledFile, ...]
    test: tuple[LabelledFile, ...] | None
    notes: tuple[str, ...]

    def relative(self, path: Path) -> str:
        """Return a file's path below the root, with forward slashes."""
        return path.relative_to(self.root).as_posix()


class _Class(NamedTuple):
    images: list[Path]
    others: list[Path]


def read_layout(root: Path) -> FolderLayout:
    """Return what lies in an image folder; no image is opened.

    Either `train/<class>/*` and `test/<class>/*`, or `<class>/*`.

    Raises:
        DataError: the folder is missing, empty, has one class, a class without images, or a split
            without its counterpart.
    """
    if not root.is_dir():
        raise DataError(
            "is a file" if root.exists() else "there is no such folder",
            required="a folder that holds train/<class>/* and test/<class>/*, or <class>/*",
            remedy='Use data.name = "arrays" for an .npz file'
            if root.suffix == ".npz"
            else "Check data.path",
            where=str(root),
        )
    folders, files = _entries(root)
    splits = _splits(folders, root)
    if splits is None:
        found = _classes(root, folders, files)
        names = sorted_names(found)
        _check_several(names, root)
        others = [*files, *_others(found)]
        return FolderLayout(root, tuple(names), _labelled(found, names), None, _notes(root, others))
    train, test = (_split_classes(folder) for folder in splits)
    names = sorted_names(train)
    _check_several(names, splits[0])
    _check_known(test, names, root)
    others = [*files, *_others(train), *_others(test)]
    beside = [folder.name for folder in folders if folder not in splits]
    return FolderLayout(
        root,
        tuple(names),
        _labelled(train, names),
        _labelled(test, names),
        _notes(root, others, beside),
    )


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return sub-folders and files in order of name, without what is hidden or the system's."""
    try:
        entries = sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise unreadable(folder, error) from error
    shown = [
        path
        for path in entries
        if not path.name.startswith(".") and path.name.lower() not in _SYSTEM_NAMES
    ]
    folders = [path for path in shown if path.is_dir()]
    return folders, [path for path in shown if path not in set(folders)]


def image_files_below(root: Path) -> tuple[list[Path], list[Path]]:
    """Return all image files below a folder and all others, in order of path; none is opened.

    What is hidden, or written by the system, is left out.

    Raises:
        DataError: a folder cannot be read, or there is no image.
    """
    files: list[Path] = []
    waiting, seen = [root], {root.resolve()}
    while waiting:
        folders, found = _entries(waiting.pop())
        files += found
        for folder in folders:
            if folder.resolve() not in seen:  # a link may lead back up
                seen.add(folder.resolve())
                waiting.append(folder)
    files.sort(key=lambda path: path.relative_to(root).as_posix())
    images = [path for path in files if _is_image(path)]
    if not images:
        raise DataError(
            "holds no images",
            required=f"image files, such as {listed(sorted(EXTENSIONS)[-5:])}, in it or in folders "
            "below",
            where=str(root),
        )
    return images, [path for path in files if not _is_image(path)]


def _splits(folders: list[Path], root: Path) -> tuple[Path, Path] | None:
    """Return the folders train/ and test/, None if neither is there."""
    found: dict[str, Path] = {}
    for folder in folders:
        if folder.name.lower() in ("train", "test"):
            found.setdefault(folder.name.lower(), folder)
    if not found:
        return None
    if len(found) == 2:
        return found["train"], found["test"]
    (present,) = found
    absent = "test" if present == "train" else "train"
    others = [folder.name for folder in folders if folder != found[present]]
    beside = f" but {listed(name + '/' for name in others)}" if others else ""
    raise DataError(
        f"holds {found[present].name}/ and no {absent}/{beside}",
        required="both, or neither and a folder per class",
        remedy=f"Add {absent}/ (rename the folder that holds its part), or set data.path to "
        f"{found[present]} to have a test split drawn from it",
        where=str(root),
    )


def _split_classes(folder: Path) -> dict[str, _Class]:
    folders, files = _entries(folder)
    return _classes(folder, folders, files)


def _classes(parent: Path, folders: list[Path], files: list[Path]) -> dict[str, _Class]:
    """Return class → its files; every folder is a class and must hold images."""
    if not folders:
        images = sum(_is_image(path) for path in files)
        holds = f"{images} images and no folders" if images else "no folders and no images"
        raise DataError(
            f"holds {holds}",
            required="one folder per class, with its images in it",
            remedy="Sort the images into folders named like their classes",
            where=str(parent),
        )
    return {folder.name: _class_of(folder) for folder in folders}


def _class_of(folder: Path) -> _Class:
    nested, files = _entries(folder)
    for inner in nested:
        # Its images could be a class of their own, or a split: taking a side would be a guess.
        if any(_is_image(path) for path in inner.rglob("*")):
            raise DataError(
                f"the class folder {folder.name} holds a folder of images, {inner.name}",
                required="images directly in their class folder, as in <class>/* or "
                "train/<class>/* and test/<class>/*",
                remedy="Move the images up, name the splits train and test, or set data.path to "
                "the folder whose folders are the classes",
                where=str(folder),
            )
    images = [path for path in files if _is_image(path)]
    if not images:
        raise DataError(
            f"the class folder {folder.name} holds no images",
            required="at least one image per class",
            remedy="Fill it or remove it",
            where=str(folder),
        )
    return _Class(images, [path for path in files if not _is_image(path)])


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS and not path.name.startswith(".") and path.is_file()


def _check_several(names: list[str], folder: Path) -> None:
    if len(names) < 2:
        raise DataError(
            f"holds one class, {names[0]!r}",
            required="at least two classes to tell apart, a folder each",
            remedy=f"If its folders are the classes, set data.path to {folder / names[0]}; "
            "otherwise add a class",
            where=str(folder),
        )


def _check_known(test: dict[str, _Class], names: list[str], root: Path) -> None:
    unknown = sorted_names(set(test) - set(names))
    if unknown:
        raise DataError(
            f"test/ has classes that train/ has not: {listed(map(repr, unknown))}",
            required=f"test classes among {listed(map(repr, names))}",
            remedy="Add training images of them, or remove them from test/",
            where=str(root),
        )


def _labelled(found: dict[str, _Class], names: list[str]) -> tuple[LabelledFile, ...]:
    return tuple(
        LabelledFile(path, label)
        for label, name in enumerate(names)
        if name in found
        for path in found[name].images
    )


def _others(found: dict[str, _Class]) -> list[Path]:
    return [path for group in found.values() for path in group.others]


def _notes(root: Path, files: list[Path], folders: list[str] | None = None) -> tuple[str, ...]:
    """Return sentences about files and folders that are not read."""
    notes = []
    for are_images, what in ((False, "no images"), (True, "outside the class folders")):
        group = [
            path.relative_to(root).as_posix() for path in files if _is_image(path) == are_images
        ]
        if group:
            verb = "file is" if len(group) == 1 else "files are"
            notes.append(f"{len(group)} {verb} {what} and not read: {listed(group, 3)}.")
    if folders:
        notes.append(f"Folders beside train/ and test/ that are not read: {listed(folders)}.")
    return tuple(notes)
