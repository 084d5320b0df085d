"""Which array is what: names, aliases and tuples → roles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from bnkit.errors import DataError
from bnkit.lab.data.class_labels import listed

SPLIT = ("train_images", "train_labels", "test_images", "test_labels")
WHOLE = ("images", "labels")
CLASS_NAMES = "class_names"

# Keras and scikit-learn write x_train or X_train.
_ALIASES = {
    "train_images": ("train_images", "x_train", "X_train"),
    "train_labels": ("train_labels", "y_train"),
    "test_images": ("test_images", "x_test", "X_test"),
    "test_labels": ("test_labels", "y_test"),
    "images": ("images", "x", "X"),
    "labels": ("labels", "y"),
    CLASS_NAMES: (CLASS_NAMES,),
}
_LABELS = ("train_labels", "test_labels", "labels", CLASS_NAMES)
# Further names, where labels need not be there.
_OTHERS = {
    "images": ("inputs", "data"),
    "train_labels": ("Y_train",),
    "test_labels": ("Y_test",),
    "labels": ("Y", "label", "target", "targets"),
    CLASS_NAMES: (),
}


def roles_of_keys(keys: Sequence[str], where: str) -> dict[str, str]:
    """Return role → the key that fills it: the four of `SPLIT` or the two of `WHOLE`, in order.

    `class_names` is among them if it is given.

    Raises:
        DataError: keys are missing, or one role is filled twice.
    """
    found: dict[str, str] = {}
    for role, aliases in _ALIASES.items():
        given = [alias for alias in aliases if alias in keys]
        if len(given) > 1:
            raise DataError(
                f"holds both {given[0]} and {given[1]}",
                required="one of them",
                remedy="Take one out",
                where=where,
            )
        if given:
            found[role] = given[0]
    wanted = _wanted(found, where)
    missing = [role for role in wanted if role not in found]
    if missing:
        raise _missing(missing, found, keys, where)
    optional = (CLASS_NAMES,) if CLASS_NAMES in found else ()
    return {role: found[role] for role in (*wanted, *optional)}


def named(arrays: Mapping[str, Any] | Sequence[Any], where: str) -> dict[str, Any]:
    """Return arrays handed over in Python as a mapping with names.

    Args:
        arrays: a mapping; or a tuple (images, labels), (train_images, train_labels, test_images,
            test_labels) or ((train_images, train_labels), (test_images, test_labels)).
        where: what messages begin with.

    Raises:
        DataError: it is none of these.
    """
    if isinstance(arrays, Mapping):
        return {str(key): value for key, value in arrays.items()}
    if isinstance(arrays, tuple | list):
        # What `keras.datasets.….load_data()` returns.
        if len(arrays) == 2 and all(isinstance(part, tuple) and len(part) == 2 for part in arrays):
            arrays = [*arrays[0], *arrays[1]]
        if len(arrays) in (2, 4):
            return dict(zip(SPLIT if len(arrays) == 4 else WHOLE, arrays, strict=True))
    given = f"a {type(arrays).__name__}"
    if isinstance(arrays, tuple | list):
        given += f" of {len(arrays)} items"
    raise DataError(
        f"got {given}",
        required=f"({', '.join(WHOLE)}), ({', '.join(SPLIT)}), or a mapping with these names",
        where=where,
    )


def image_keys(keys: Sequence[str], where: str) -> list[str]:
    """Return the keys of arrays that hold inputs, whether labels are there or not.

    These are the training and the test images, in this order, or the images; else an array named
    inputs or data; else the first one that does not bear the name of labels.

    Raises:
        DataError: there is none, or more than one that could be meant.
    """
    found = {
        role: [key for key in (*_ALIASES[role], *_OTHERS.get(role, ())) if key in keys]
        for role in ("train_images", "test_images", "images")
    }
    whole, parts = found.pop("images"), found
    rivals = next((held for held in (*parts.values(), whole) if len(held) > 1), None)
    halves = [key for held in parts.values() for key in held]
    if rivals is None and halves and whole:
        rivals = [halves[0], whole[0]]
    if rivals is not None:
        raise DataError(
            f"holds both {rivals[0]} and {rivals[1]}",
            required="one of them",
            remedy="Take one out",
            where=where,
        )
    named_labels = {alias for role in _LABELS for alias in (*_ALIASES[role], *_OTHERS[role])}
    rest = [key for key in keys if key not in named_labels][:1]
    if not (halves or whole or rest):
        raise DataError(
            f"has no images; it holds {listed(keys, 10) or 'nothing'}",
            required="an array named images, x, data or inputs, or train_images and test_images",
            where=where,
        )
    return halves or whole or rest


def unread_note(keys: Sequence[str], roles: Mapping[str, str]) -> list[str]:
    """Return the sentence about arrays that no role takes; none if there are none."""
    unread = sorted(set(keys) - set(roles.values()))
    return [f"Arrays that are not read: {listed(unread)}."] if unread else []


def _wanted(found: Mapping[str, str], where: str) -> tuple[str, ...]:
    has_split = [role for role in SPLIT if role in found]
    has_whole = [role for role in WHOLE if role in found]
    if has_split and has_whole:
        raise DataError(
            f"holds both {found[has_split[0]]} and {found[has_whole[0]]}",
            required=f"either {', '.join(SPLIT)}, or {', '.join(WHOLE)}",
            remedy="Take one of the two forms out",
            where=where,
        )
    return SPLIT if has_split else WHOLE


def _missing(
    missing: Sequence[str], found: Mapping[str, str], keys: Sequence[str], where: str
) -> DataError:
    roles = ", ".join(missing)
    unused = [key for key in keys if key not in found.values()]
    near = [key for alias in _ALIASES[missing[0]] for key in get_close_matches(alias, unused, n=1)]
    remedy = f"Name the arrays {', '.join(SPLIT)}, or {', '.join(WHOLE)} to have them split"
    if near:
        remedy = f"Did you mean {near[0]!r} by {missing[0]}?"
    elif set(missing) == {"test_images", "test_labels"}:
        remedy = "Add them, or name the two arrays images and labels to have a test split drawn"
    elif set(missing) == {"train_images", "train_labels"}:
        remedy = "Add them"
    return DataError(
        f"has no {roles}; it holds {listed(keys, 10) or 'nothing'}",
        required=f"{', '.join(SPLIT)}, or {', '.join(WHOLE)} (x_train … and x, y will do)",
        remedy=remedy,
        where=where,
    )
