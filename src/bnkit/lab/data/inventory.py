"""Which data sets there are, where their files lie, and whether these are the official ones."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bnkit.errors import DataError, did_you_mean
from bnkit.lab.data.stored_copies import StoredCopy, find_copy, require_copy
from bnkit.lab.data.stored_sets import CIFAR_10, HINDI_DIGITS, MNIST, STORED_SETS

EMBEDDED_SETS = {
    "digits": "handwritten digits, 1,797 grey images of 8×8",
    "iris": "4 measures of 150 flowers of 3 kinds",
    "wine": "13 measures of 178 wines of 3 kinds, from 0.1 to 1,700",
    "breast-cancer": "30 measures of 569 tumours of 2 kinds, from 0 to 4,300",
}

EMBEDDED, FOUND, INCOMPLETE, ABSENT = "embedded", "found", "incomplete", "absent"
OFFICIAL, DIFFERS, UNKNOWN, DAMAGED = "official", "differs", "no checksum known", "damaged"


@dataclass(frozen=True)
class SetEntry:
    """A data set as `bnkit data list` shows it.

    Attributes:
        name: `data.name` of a study.
        what: what it holds.
        size: of the download; empty if it is embedded.
        state: `embedded`, `found`, `incomplete` or `absent`.
        place: the folder or archive that was found; empty otherwise.
        missing: official files that are not there, though others are.
    """

    name: str
    what: str
    size: str
    state: str
    place: str = ""
    missing: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as plain data."""
        return asdict(self) | {"missing": list(self.missing)}


@dataclass(frozen=True)
class FileCheck:
    """What the check of one file, or of a set of image files, found.

    Attributes:
        name: the data set.
        file: the file, or the folder of images.
        state: `official`, `differs`, `no checksum known` or `damaged`.
        message: what is wrong or known; may be empty.
    """

    name: str
    file: str
    state: str
    message: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the check as plain data."""
        return asdict(self)


def inventory(folder: Path) -> list[SetEntry]:
    """Return every data set that a study can name, and where it lies; no file is opened."""
    entries = [SetEntry(name, what, "", EMBEDDED) for name, what in EMBEDDED_SETS.items()]
    return entries + [_stored_entry(name, folder) for name in STORED_SETS]


def check_name(name: str) -> None:
    """Raise `DataError` unless a data set has this name."""
    known = [*EMBEDDED_SETS, *STORED_SETS]
    if name not in known:
        raise DataError(
            f"there is no data set {name!r}",
            required=f"one of {', '.join(known)}",
            remedy=did_you_mean(name, known) or "`bnkit data list` shows them",
        )


def check_files(name: str, copy: StoredCopy) -> list[FileCheck]:
    """Read a copy of a stored set and return what was found of each of its files.

    The structure is checked, and the checksum of the decompressed content, where one is known.

    Args:
        name: of `STORED_SETS`.
        copy: where it lies.
    """
    if copy.missing and name == MNIST:
        return [FileCheck(name, str(copy.place), DAMAGED, f"has no {', '.join(copy.missing)}")]
    try:
        return _CHECKS[name](copy)
    except DataError as error:
        return [FileCheck(name, error.where or str(copy.place), DAMAGED, _without_place(error))]


def verify(name: str | None, folder: Path) -> list[FileCheck]:
    """Return what was found of each file of a set, or of all sets that lie in a folder.

    Raises:
        DataError: there is no set of that name, or it is not there.
    """
    if name is not None:
        check_name(name)
        if name in EMBEDDED_SETS:
            return [FileCheck(name, "scikit-learn", EMBEDDED)]
        return check_files(name, require_copy(name, folder))
    copies = {name: find_copy(name, folder) for name in STORED_SETS}
    return [check for name, copy in copies.items() if copy for check in check_files(name, copy)]


def _stored_entry(name: str, folder: Path) -> SetEntry:
    stored, copy = STORED_SETS[name], find_copy(name, folder)
    if copy is None:
        return SetEntry(name, stored.what, stored.size, ABSENT)
    state = INCOMPLETE if copy.missing else FOUND
    return SetEntry(name, stored.what, stored.size, state, str(copy.place), copy.missing)


def _check_mnist(copy: StoredCopy) -> list[FileCheck]:
    from bnkit.lab.data.mnist import read_mnist

    _, differing = read_mnist(copy)
    return _judged(MNIST, {name: str(path) for name, path in copy.files.items()}, differing)


def _check_cifar(copy: StoredCopy) -> list[FileCheck]:
    from bnkit.lab.data.cifar_10 import arrays_of, batch_contents, place_of, unofficial

    contents = batch_contents(copy)
    arrays_of(copy, contents)
    return _judged(
        CIFAR_10, {name: place_of(copy, name) for name in contents}, unofficial(contents)
    )


def _check_hindi(copy: StoredCopy) -> list[FileCheck]:
    from bnkit.lab.data.folder import decode_layout
    from bnkit.lab.data.hindi_digits import digits_layout
    from bnkit.lab.data.settings import DataSettings

    settings = DataSettings(name=HINDI_DIGITS, batch_size=1, image_size=(32, 32))
    data = decode_layout(digits_layout(copy), settings)
    counts = f"{len(data.train_labels)} + {len(data.test_labels)} images, all of them whole"
    return [FileCheck(HINDI_DIGITS, str(copy.place), UNKNOWN, counts)]


_CHECKS = {MNIST: _check_mnist, CIFAR_10: _check_cifar, HINDI_DIGITS: _check_hindi}


def _judged(name: str, files: dict[str, str], differing: list[str]) -> list[FileCheck]:
    known = {file.name: file.md5 for file in STORED_SETS[name].files}
    checks = []
    for file, place in files.items():
        if file not in known:
            message = "its structure is right"
            checks.append(FileCheck(name, place, UNKNOWN, message))
        elif file in differing:
            message = "its structure is right, its content is not the official one"
            checks.append(FileCheck(name, place, DIFFERS, message))
        else:
            checks.append(FileCheck(name, place, OFFICIAL))
    return checks


def _without_place(error: DataError) -> str:
    return str(error).removeprefix(f"{error.where}: ")
