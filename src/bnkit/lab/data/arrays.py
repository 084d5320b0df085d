"""Arrays as data: an .npz file, or what Python code hands over."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bnkit.errors import DataError
from bnkit.lab.data.array_dataset import dataset_from_arrays
from bnkit.lab.data.array_names import named, roles_of_keys, unread_note
from bnkit.lab.data.class_labels import AnyArray
from bnkit.lab.data.dataset import Dataset
from bnkit.lab.data.hashing import hash_arrays, hash_file, unreadable
from bnkit.lab.data.pixel_arrays import as_array
from bnkit.lab.data.settings import DataSettings

# What an .npy file begins with.
_NPY = b"\x93NUMPY"


class ArraySource:
    """Arrays handed over in Python; they are not copied, so leave them as they are until trained.

    Args:
        arrays: role (`train_images` … or `images`, `labels`, and `class_names`) → array.
        settings: how they are prepared. None takes the defaults and leaves the batch size open.
        notes: sentences about the arrays that the data set's notes begin with.
    """

    def __init__(
        self,
        arrays: Mapping[str, AnyArray],
        settings: DataSettings | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self._arrays = dict(arrays)
        self._settings = settings
        self._notes = list(notes)

    def fingerprint(self) -> str:
        """Return a hash of names, dtypes, shapes and values."""
        return hash_arrays(self._arrays)

    def load(self) -> Dataset:
        """Check the arrays and return them as a data set; raise `DataError` if they are unfit."""
        return dataset_from_arrays(self._arrays, self._settings, self._notes, "arrays")


def from_arrays(
    arrays: Mapping[str, Any] | Sequence[Any], settings: DataSettings | None = None
) -> ArraySource:
    """Return arrays handed over in Python as a source that a study can train on.

    Args:
        arrays: (images, labels), of which a test split is drawn; (train_images, train_labels,
            test_images, test_labels), also in two pairs; or a mapping with these names or x_train
            …, x, y, and optionally class_names. NumPy arrays, nested lists, or anything else that
            `numpy.asarray` reads, such as torch tensors on the CPU.
        settings: how they are prepared: image_size, colour, mean, std, test_share, split_seed. None
            takes the defaults and leaves the batch size open.

    Raises:
        DataError: arrays are missing or cannot be read; their content is checked by `load`.
    """
    where = "arrays"
    given = named(arrays, where)
    roles = roles_of_keys(list(given), where)
    read = {role: as_array(key, given[key], where) for role, key in roles.items()}
    return ArraySource(read, settings, unread_note(list(given), roles))


class ArrayFileSource:
    """An .npz file of arrays."""

    def __init__(self, settings: DataSettings) -> None:
        assert settings.path is not None, "DataSettings requires a path of name = arrays"
        self._settings = settings
        self._path = settings.path

    def fingerprint(self) -> str:
        """Return the hash of the file's bytes."""
        _check_is_file(self._path)
        return hash_file(self._path)

    def load(self) -> Dataset:
        """Read and check the arrays; raise `DataError` for what cannot be used."""
        arrays, notes = _read_npz(self._path)
        return dataset_from_arrays(arrays, self._settings, notes, str(self._path))


def _check_is_file(path: Path) -> None:
    if path.is_dir():
        raise DataError(
            "is a folder",
            required="an .npz file",
            remedy='Use data.name = "folder" for a folder of images',
            where=str(path),
        )
    if not path.exists():
        raise DataError(
            "there is no such file",
            required="an .npz file",
            remedy="Check data.path",
            where=str(path),
        )


def _read_npz(path: Path) -> tuple[dict[str, AnyArray], list[str]]:
    roles: dict[str, str] = {}

    def choose(keys: Sequence[str]) -> Sequence[str]:
        roles.update(roles_of_keys(keys, str(path)))
        return list(roles.values())

    arrays, keys = load_npz(path, choose)
    return {role: arrays[key] for role, key in roles.items()}, unread_note(keys, roles)


def load_npz(
    path: Path, choose: Callable[[Sequence[str]], Sequence[str]]
) -> tuple[dict[str, AnyArray], list[str]]:
    """Return those arrays of an .npz file that are wanted, and the keys of all.

    Args:
        path: the file.
        choose: all keys → those to read, in order.

    Raises:
        DataError: it cannot be read, or an array holds Python objects.
    """
    _check_is_file(path)
    where = str(path)
    try:
        if not zipfile.is_zipfile(path):
            raise _not_npz(path)
        with np.load(path, allow_pickle=False) as file:
            keys = list(file.keys())
            return {
                key: _member(partial(file.__getitem__, key), key, where) for key in choose(keys)
            }, keys
    except OSError as error:
        raise unreadable(path, error) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise _damaged(error, where) from error


def load_npy(path: Path) -> AnyArray | None:
    """Return the array of an .npy file; None if it is another file.

    Raises:
        DataError: it cannot be read, or holds Python objects.
    """
    _check_is_file(path)
    try:
        with path.open("rb") as file:
            if file.read(len(_NPY)) != _NPY:
                return None
        return _member(partial(np.load, path, allow_pickle=False), "the array", str(path))
    except OSError as error:
        raise unreadable(path, error) from error
    except EOFError as error:
        raise _damaged(error, str(path), ".npy") from error


def _member(read: Callable[[], Any], key: str, where: str) -> AnyArray:
    try:
        value = read()
    except ValueError as error:
        if "Object arrays" not in str(error):
            raise _damaged(error, where) from error
        raise DataError(
            f"{key} holds Python objects, which can run code when they are read",
            required="an array of numbers, or of strings for labels",
            remedy=f"Save numpy.stack({key}), or {key}.astype(str), instead",
            where=where,
        ) from error
    except MemoryError as error:
        raise DataError(
            f"{key} does not fit into memory ({error})",
            required="arrays that fit into memory",
            where=where,
        ) from error
    return as_array(key, value, where)


def _not_npz(path: Path) -> DataError:
    with path.open("rb") as file:
        start = file.read(len(_NPY))
    given, remedy = "is not an .npz file", "Write it with numpy.savez"
    if start == b"":
        given = "is empty (0 bytes)"
    elif start == _NPY:
        given = "is an .npy file, one array without a name"
    elif start.startswith(b"PK"):
        given, remedy = "is damaged: its end is missing", "Copy or write it again"
    return DataError(given, required="an .npz file", remedy=remedy, where=str(path))


def _damaged(error: Exception, where: str, ending: str = ".npz") -> DataError:
    return DataError(
        f"is damaged ({error})",
        required=f"a whole {ending} file",
        remedy="Copy or write it again",
        where=where,
    )
