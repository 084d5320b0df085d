"""Arrays of any usual dtype and layout → float32 (N, C, H, W) or (N, D)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnkit.errors import DataError
from bnkit.lab.data.class_labels import AnyArray
from bnkit.lab.data.preparation import Images

_CHANNELS = (1, 3, 4)


def as_array(name: str, value: Any, where: str) -> AnyArray:
    """Return anything that NumPy can read as an array; str objects and bytes as strings.

    Raises:
        DataError: NumPy cannot, or it holds Python objects.
    """
    try:
        array = np.asarray(value)
    except Exception as error:  # a tensor's refusal may be any exception
        raise DataError(
            f"{name} is a {type(value).__name__} that NumPy cannot read as an array "
            f"({type(error).__name__}: {error})",
            required="an array, or nested lists of equal length",
            remedy="Pass tensors as tensor.detach().cpu().numpy()",
            where=where,
        ) from error
    if array.dtype.kind == "O" and all(isinstance(item, str) for item in array.flat):
        array = array.astype(np.str_)
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    if array.dtype.kind == "O":
        raise DataError(
            f"{name} holds Python objects",
            required="numbers; labels may be strings",
            remedy="Stack the examples into one array with numpy.stack",
            where=where,
        )
    return array


def check_examples(parts: Mapping[str, AnyArray], where: str) -> None:
    """Raise `DataError` unless the parts hold examples of one shape and one kind of number.

    Args:
        parts: name → images or features; training first, then test, or all of them.
        where: what messages begin with.
    """
    for name, array in parts.items():
        if array.ndim not in (2, 3, 4):
            raise DataError(
                f"{name} has shape {array.shape}",
                required="(N, H, W), (N, C, H, W) or (N, H, W, C) for images, (N, D) for features",
                where=where,
            )
        if array.size == 0:
            raise DataError(
                f"{name} has shape {array.shape} and so holds nothing",
                required="at least one example with at least one value",
                where=where,
            )
        if array.dtype.kind not in "buif":
            raise DataError(f"{name} has dtype {array.dtype}", required="real numbers", where=where)
    (first, train), *rest = parts.items()
    for name, array in rest:
        if array.shape[1:] != train.shape[1:]:
            raise DataError(
                f"an example of {first} has shape {train.shape[1:]}, "
                f"one of {name} {array.shape[1:]}",
                required="one shape",
                where=where,
            )
        if _scale(array) != _scale(train) or (array.dtype.kind == "f") != (train.dtype.kind == "f"):
            raise DataError(
                f"{first} has dtype {train.dtype}, {name} {array.dtype}",
                required="one dtype, as bytes are scaled to [0, 1] and other numbers are not",
                remedy="Convert both alike",
                where=where,
            )


def to_float32(name: str, array: AnyArray, where: str) -> Images:
    """Return the values as float32: bytes / 255, booleans as 0 and 1, other numbers as they are.

    Raises:
        DataError: NaN, infinite, or too large for float32.
    """
    if array.dtype.kind == "f":
        _check_finite(name, array, array, "finite numbers", where)
    with np.errstate(over="ignore"):  # refused below
        converted: Images = array.astype(np.float32)
    if array.dtype.kind == "f" and array.dtype.itemsize > 4:
        _check_finite(name, converted, array, "numbers that float32 can hold", where)
    if _scale(array) != 1:
        converted /= np.float32(_scale(array))
    return converted


def channels_first(images: Images) -> tuple[Images, list[str]]:
    """Return images as (N, C, H, W) and sentences about how their axes were read.

    (N, H, W) gets a channel axis. The last of four axes is taken for channels if it has 1, 3 or 4
    entries and the second has not. (N, D) stays as it is.
    """
    if images.ndim == 2:
        return images, []
    if images.ndim == 3:
        return images[:, None], []
    first, last = images.shape[1] in _CHANNELS, images.shape[3] in _CHANNELS
    if last and not first:
        note = f"Images of shape {images.shape[1:]} were read as (H, W, C), channels last."
        return np.ascontiguousarray(np.moveaxis(images, 3, 1)), [note]
    if first and last:
        note = (
            f"Images of shape {images.shape[1:]} were read as (C, H, W), though either is possible."
        )
        return images, [note]
    return images, []


def values_note(array: AnyArray) -> list[str]:
    """Return the sentence about values that were not scaled; none for bytes and booleans."""
    if array.dtype.kind == "b" or _scale(array) != 1:
        return []
    low, high = array.min(), array.max()
    return [f"Values of dtype {array.dtype} are used as they are, from {low:g} to {high:g}."]


def _scale(array: NDArray[Any]) -> int:
    return 255 if array.dtype == np.uint8 else 1


def _check_finite(name: str, values: AnyArray, given: AnyArray, required: str, where: str) -> None:
    bad = ~np.isfinite(values)
    count = int(bad.sum())
    if count:
        # argmax: the first True, without a list of what may be millions of indices.
        index = tuple(int(i) for i in np.unravel_index(int(bad.argmax()), bad.shape))
        plural = "value" if count == 1 else "values"
        raise DataError(
            f"{name} holds {count} {plural} that cannot be used, the first is {given[index]} at "
            f"index {index}",
            required=required,
            remedy="Mend or leave out these examples",
            where=where,
        )
