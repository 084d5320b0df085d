"""Labels in any usual form → 0 … K−1 and the names of the classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnkit.errors import DataError

Labels = NDArray[np.int64]
AnyArray = NDArray[Any]


def sorted_names(names: Iterable[str]) -> list[str]:
    """Return distinct names in order: by value if all are whole numbers, else as text."""
    unique = sorted(set(names))
    if all(name.isascii() and name.isdigit() for name in unique):
        unique.sort(key=int)
    return unique


def listed(items: Iterable[Any], limit: int = 5) -> str:
    """Return the first items as text, and how many more there are."""
    texts = [str(item) for item in items]
    if len(texts) <= limit:
        return ", ".join(texts)
    return f"{', '.join(texts[:limit])} and {len(texts) - limit} more"


def encode_labels(
    parts: Mapping[str, AnyArray], class_names: AnyArray | None, where: str
) -> tuple[list[Labels], tuple[str, ...]]:
    """Return each part's labels as int64 0 … K−1, and the K class names.

    Whole numbers (also as floats or booleans) are taken as they are; strings become their index
    among `class_names`, or among the sorted names of the training labels. Every class must have a
    training example.

    Args:
        parts: name → labels of shape (N,) or (N, 1), the training labels first.
        class_names: K names; None takes the strings, or "0", "1" …
        where: what messages begin with.

    Raises:
        DataError: labels of another shape or kind, outside 0 … K−1, or a class without training
            example.
    """
    flat = {name: _flat(name, array, where) for name, array in parts.items()}
    names = None if class_names is None else _names(class_names, where)
    textual = [array.dtype.kind == "U" for array in flat.values()]
    if any(textual):
        if not all(textual):
            raise DataError(
                f"of {' and '.join(flat)} one holds strings and the other numbers",
                required="labels of one kind",
                where=where,
            )
        return _encode_strings(flat, names, where)
    whole = [_whole(name, array, where) for name, array in flat.items()]
    first, train = next(iter(flat)), whole[0]
    classes = int(train.max()) + 1 if names is None else len(names)
    for name, labels in zip(flat, whole, strict=True):
        _check_range(name, labels, classes, first if names is None else "class_names", where)
    _check_all_present(first, train, classes, names, where)
    return whole, tuple(names or map(str, range(classes)))


def check_class_count(class_names: Sequence[str], where: str) -> None:
    """Raise `DataError` for fewer than two classes."""
    if len(class_names) < 2:
        raise DataError(
            f"there is one class, {class_names[0]!r}",
            required="at least two classes to tell apart",
            where=where,
        )


def _flat(name: str, array: AnyArray, where: str) -> AnyArray:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2:
        raise DataError(
            f"{name} has shape {array.shape}, as one-hot labels have",
            required="one label per example, shape (N,)",
            remedy=f"Use {name}.argmax(axis=1)",
            where=where,
        )
    if array.ndim != 1:
        raise DataError(
            f"{name} has shape {array.shape}",
            required="one label per example, shape (N,)",
            where=where,
        )
    return array


def _names(array: AnyArray, where: str) -> list[str]:
    if array.ndim != 1 or array.dtype.kind != "U":
        raise DataError(
            f"class_names has shape {array.shape} and dtype {array.dtype}",
            required="one string per class, shape (K,)",
            where=where,
        )
    names = [str(name) for name in array]
    double = [name for name in names if names.count(name) > 1]
    if double:
        raise DataError(
            f"class_names holds {double[0]!r} {names.count(double[0])} times",
            required="every class has a name of its own",
            where=where,
        )
    return names


def _encode_strings(
    parts: Mapping[str, AnyArray], names: list[str] | None, where: str
) -> tuple[list[Labels], tuple[str, ...]]:
    first, train = next(iter(parts.items()))
    known = sorted_names(map(str, train)) if names is None else names
    index = {name: label for label, name in enumerate(known)}
    encoded = []
    for name, array in parts.items():
        unknown = sorted_names(set(map(str, array)) - set(known))
        if unknown:
            place = f"{first}" if names is None else "class_names"
            raise DataError(
                f"{name} holds labels that {place} does not: {listed(map(repr, unknown))}",
                required=f"labels among {listed(map(repr, known))}",
                where=where,
            )
        encoded.append(np.array([index[str(label)] for label in array], dtype=np.int64))
    _check_all_present(first, encoded[0], len(known), known, where)
    return encoded, tuple(known)


def _whole(name: str, array: AnyArray, where: str) -> Labels:
    if array.dtype.kind not in "buif":
        raise DataError(
            f"{name} has dtype {array.dtype}",
            required="whole numbers 0 … K−1, or strings",
            where=where,
        )
    wrong = np.flatnonzero(~(np.isfinite(array) & (array == np.floor(array))))
    if len(wrong):
        raise DataError(
            f"{name} holds {array[wrong[0]]} at index {wrong[0]}"
            + (f", and {len(wrong) - 1} more such values" if len(wrong) > 1 else ""),
            required="whole numbers 0 … K−1",
            where=where,
        )
    # Beyond int64 a cast would wrap around; no such number can be a class index.
    outside = np.flatnonzero(np.abs(array.astype(np.float64)) >= 2.0**62)
    if len(outside):
        raise DataError(
            f"{name} holds {array[outside[0]]} at index {outside[0]}",
            required="whole numbers 0 … K−1",
            where=where,
        )
    return array.astype(np.int64)


def _check_range(name: str, labels: Labels, classes: int, counted_in: str, where: str) -> None:
    low, high = int(labels.min()), int(labels.max())
    if low >= 0 and high < classes:
        return
    bad = np.flatnonzero((labels < 0) | (labels >= classes))
    remedy = "Count classes from 0"
    if low == 1 and high == classes:
        remedy = f"They seem to count from 1: use {name} - 1"
    raise DataError(
        f"{name} runs from {low} to {high}; {len(bad)} out of range, the first is "
        f"{labels[bad[0]]} at index {bad[0]}",
        required=f"labels from 0 to {max(classes, 1) - 1}, the classes of {counted_in}",
        remedy=remedy,
        where=where,
    )


def _check_all_present(
    name: str, labels: Labels, classes: int, names: Sequence[str] | None, where: str
) -> None:
    present = np.unique(labels)
    if len(present) == classes:
        return
    # Never a list of all labels: one label of a billion would make it endless.
    candidates = np.arange(min(classes, len(present) + 5))
    missing = [int(label) for label in candidates[~np.isin(candidates, present)]][:5]
    more = " and others" if classes - len(present) > len(missing) else ""
    shown = ", ".join(repr(names[label]) if names else str(label) for label in missing)
    held, remedy = name, "Add examples, or take the class out of class_names"
    if names is None:
        held = f"{name} runs from {present[0]} to {present[-1]} and"
        counted_from_1 = missing == [0] and not more
        remedy = f"Use {name} - 1 if they count from 1" if counted_from_1 else "Number them 0 … K−1"
    raise DataError(
        f"{held} has no example of class {shown}{more}",
        required=f"a training example of each of the {classes} classes",
        remedy=remedy,
        where=where,
    )
