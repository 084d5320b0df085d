"""Handwritten Hindi digits: the ten digits of the Devanagari Handwritten Character Dataset."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path, PurePosixPath

from bnkit.errors import DataError
from bnkit.lab.data.archives import read_members
from bnkit.lab.data.data_folder import data_folder
from bnkit.lab.data.dataset import Dataset
from bnkit.lab.data.folder import decode_layout
from bnkit.lab.data.folder_layout import FolderLayout, LabelledFile
from bnkit.lab.data.hashing import hash_file, unreadable
from bnkit.lab.data.image_files import EXTENSIONS
from bnkit.lab.data.settings import DataSettings
from bnkit.lab.data.stored_bytes import MIB
from bnkit.lab.data.stored_copies import DIGIT_FOLDER, StoredCopy, require_copy
from bnkit.lab.data.stored_sets import HINDI_DIGITS

_SIDE = 32
_OFFICIAL_COUNTS = (17_000, 3_000)
_MOST_BYTES_EACH = 4 * MIB
_NAMES = tuple(map(str, range(10)))

_Splits = dict[str, list[LabelledFile]]


class HindiDigitsSource:
    """The Hindi digits from image folders or an archive, found in the data folder.

    They become grey images of 32×32 pixels, as the articles' networks take them, unless the
    settings ask for something else.
    """

    def __init__(self, settings: DataSettings, folder: Path | None = None) -> None:
        chosen = {
            "colour": settings.colour or "grey",
            "image_size": settings.image_size or (_SIDE, _SIDE),
        }
        self._settings = settings.model_copy(update=chosen)
        self._given_folder = folder

    def fingerprint(self) -> str:
        """Return a hash of the images' bytes, labels and order, wherever and however they lie.

        Of the files' bytes, not of pixels, so that a study that is finished decodes nothing.
        """
        digest = hashlib.sha256()
        for split in (self._layout.train, self._layout.test or ()):
            digest.update(b"%d:" % len(split))
            for file in split:
                own = (
                    hash_file(file.path)
                    if file.content is None
                    else hashlib.sha256(file.content).hexdigest()
                )
                digest.update(f"{file.label}:{own}:".encode())
        return digest.hexdigest()

    def load(self) -> Dataset:
        """Return grey images in [0, 1], shape (N, 1, 32, 32); raise `DataError` if damaged."""
        return decode_layout(self._layout, self._settings)

    @cached_property
    def _layout(self) -> FolderLayout:
        return digits_layout(require_copy(HINDI_DIGITS, data_folder(self._given_folder)))


def digits_layout(copy: StoredCopy) -> FolderLayout:
    """Return the digit images of a copy; those of an archive with their bytes.

    Raises:
        DataError: the archive is damaged, or a split lacks a digit.
    """
    splits = _from_folders(copy.place) if copy.place.is_dir() else _from_archive(copy.place)
    for split, files in splits.items():
        found = {file.label for file in files}
        absent = [name for label, name in enumerate(_NAMES) if label not in found]
        if absent:
            raise DataError(
                f"has no {split} images of {', '.join(absent)}",
                required="train/digit_0 … digit_9 and test/digit_0 … digit_9 with images in them",
                remedy="Remove it and get it again",
                where=str(copy.place),
            )
    train, test = splits["train"], splits["test"]
    return FolderLayout(copy.place, _NAMES, tuple(train), tuple(test), _notes(splits))


def _notes(splits: _Splits) -> tuple[str, ...]:
    counts = tuple(len(files) for files in splits.values())
    if counts == _OFFICIAL_COUNTS:
        return ()
    return (
        f"{counts[0]} training and {counts[1]} test images, where the articles' set has "
        f"{_OFFICIAL_COUNTS[0]} and {_OFFICIAL_COUNTS[1]}.",
    )


def _from_folders(root: Path) -> _Splits:
    splits: _Splits = {"train": [], "test": []}
    for folder in _sorted(root):
        if folder.name.lower() in splits and folder.is_dir():
            for below in _sorted(folder):
                if below.is_dir():
                    _add(splits, folder.name, below.name, [(path, None) for path in _sorted(below)])
    return _in_order(splits)


def _from_archive(archive: Path) -> _Splits:
    splits: _Splits = {"train": [], "test": []}
    for name, content in read_members(archive, _is_digit_image, _MOST_BYTES_EACH).items():
        *_, split, folder, _file = PurePosixPath(name).parts
        _add(splits, split, folder, [(archive / name, content)])
    return _in_order(splits)


def _add(splits: _Splits, split: str, folder: str, files: list[tuple[Path, bytes | None]]) -> None:
    digit = DIGIT_FOLDER.fullmatch(folder)
    if digit:
        splits[split.lower()] += [
            LabelledFile(path, int(digit[1]), content)
            for path, content in files
            if path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")
        ]


def _in_order(splits: _Splits) -> _Splits:
    # By name within a class: packed and unpacked, the order of training is the same.
    return {
        split: sorted(files, key=lambda file: (file.label, file.path.name))
        for split, files in splits.items()
    }


def _is_digit_image(name: str) -> bool:
    path = PurePosixPath(name)
    parts = path.parts
    return (
        len(parts) >= 3
        and parts[-3].lower() in ("train", "test")
        and DIGIT_FOLDER.fullmatch(parts[-2]) is not None
        and path.suffix.lower() in EXTENSIONS
        and not path.name.startswith(".")
        and "__MACOSX" not in parts
    )


def _sorted(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise unreadable(folder, error) from error
