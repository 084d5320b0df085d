"""A batch from a JSON file or from standard input."""

from __future__ import annotations

import difflib
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bnkit.errors import DataError
from bnkit.explain.batch import SHAPES, Array, Batch, make_batch

KEYS = ("x", "weight", "bias", "eps", "momentum", "running_mean", "running_var")
# Names that other libraries and papers use; no spelling check would lead from them to ours.
OTHER_NAMES = {"gamma": "weight", "beta": "bias", "epsilon": "eps", "input": "x"}
FORM = (
    f"it must hold a nested list of numbers of shape {SHAPES}, or an object with such a list as "
    '"x" and, if wanted, "weight", "bias", "eps", "momentum", "running_mean", "running_var"'
)


def read_batch(path: str | Path) -> Batch:
    """Read a batch from JSON: a nested list, or an object with `x` and the layer's settings.

    Args:
        path: the file; `-` reads standard input.

    Raises:
        DataError: the file cannot be read, is not JSON, or holds something else than numbers.
        BnkitError: what `make_batch` refuses, with the name of the file.
    """
    where = "standard input" if str(path) == "-" else str(path)
    content = _parse(_read_text(path, where), where)
    if isinstance(content, list):
        return make_batch(_to_array(content, "x", where), where=where)
    if not isinstance(content, dict):
        raise DataError(f"the file holds {_kind(content)}", required=FORM, where=where)
    _check_keys(content, where)
    settings: dict[str, Any] = {
        key: value if key in ("eps", "momentum") else _to_array(value, key, where)
        for key, value in content.items()
    }
    return make_batch(**settings, where=where)


def _read_text(path: str | Path, where: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if str(path) == "-" else Path(path).read_bytes()
    except OSError as error:
        raise DataError(
            f"the file cannot be read ({error.strerror})",
            required="--input needs a JSON file, or - for standard input",
            remedy="Check the path",
            where=where,
        ) from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"byte {error.start} is not UTF-8 text",
            required="JSON is UTF-8 text",
            remedy="Save the batch as JSON in UTF-8; an image or array file must first be turned "
            "into lists of numbers",
            where=where,
        ) from error


def _parse(text: str, where: str) -> Any:
    try:
        # Integers become floats at once: Python refuses to build an int of several thousand digits.
        return json.loads(
            text, parse_int=float, object_pairs_hook=lambda pairs: _unique(pairs, where)
        )
    except json.JSONDecodeError as error:
        found = f"not JSON: {error.msg[0].lower()}{error.msg[1:]}" if text.strip() else "empty"
        raise DataError(
            f"the file is {found}",
            required=FORM,
            remedy="Write it with a JSON library, such as json.dump(x.tolist(), file) in Python",
            where=f"{where}, line {error.lineno}, column {error.colno}",
        ) from error
    except RecursionError as error:
        raise DataError(
            "the file nests lists too deeply to be read", required=FORM, where=where
        ) from error


def _unique(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    """Refuse a key that stands twice, of which JSON readers silently keep the last."""
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise DataError(
            f'the key "{twice}" is given {keys.count(twice)} times',
            required="each key may stand once",
            remedy="Remove all but one",
            where=where,
        )
    return content


def _check_keys(content: dict[str, Any], where: str) -> None:
    for key in content:
        if key in KEYS:
            continue
        near = [OTHER_NAMES[key]] if key in OTHER_NAMES else difflib.get_close_matches(key, KEYS, 1)
        raise DataError(
            f'unknown key "{key}"',
            required=f"the keys are {', '.join(KEYS)}",
            remedy=f'Perhaps "{near[0]}" is meant' if near else "Remove it",
            where=where,
        )
    if "x" not in content:
        raise DataError('the object has no key "x"', required=FORM, where=where)


def _to_array(value: Any, name: str, where: str) -> Array:
    """Return nested lists as an array; an error names the entry that does not fit."""
    shape = []
    first = value
    while isinstance(first, list):
        shape.append(len(first))
        if not first:
            break
        first = first[0]
    if not shape:
        raise DataError(
            f"{name} is {_kind(value)}", required=f"{name} must be a list of numbers", where=where
        )
    flat: list[float] = []
    _collect(value, name, shape, flat, where)
    return np.array(flat, dtype=np.float64).reshape(shape)


def _collect(value: Any, place: str, shape: list[int], flat: list[float], where: str) -> None:
    """Append the numbers below `value`, whose lists must have the lengths in `shape`."""
    if not shape:
        flat.append(_number(value, place, where))
        return
    name, _, _ = place.partition("[")
    if not isinstance(value, list) or len(value) != shape[0]:
        found = f"a list of {len(value)}" if isinstance(value, list) else _kind(value)
        level = place.count("[")
        raise DataError(
            f"{place} is {found}, and {name}{'[0]' * level} is a list of {shape[0]}",
            required=f"all entries on one level of {name} must be lists of the same length",
            remedy="Bring all examples to one size, or look for a missing number or bracket",
            where=where,
        )
    for index, entry in enumerate(value):
        _collect(entry, f"{place}[{index}]", shape[1:], flat, where)


def _number(value: Any, place: str, where: str) -> float:
    if not isinstance(value, float):
        raise DataError(
            f"{place} is {_kind(value)}",
            required="a number must stand there",
            remedy="Replace it, or leave out the example that holds it",
            where=where,
        )
    if not math.isfinite(value):
        raise DataError(
            f"{place} is {'NaN' if math.isnan(value) else 'Infinity, or beyond 1.8e308'}",
            required="a finite number must stand there, as one such value makes the mean and with "
            "it the whole channel NaN",
            remedy="Replace it, or leave out the example that holds it",
            where=where,
        )
    return value


def _kind(value: Any) -> str:
    """Name what JSON holds in JSON's words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        shown = value if len(value) <= 20 else f"{value[:20]}…"
        return f'the text "{shown}"'
    if isinstance(value, dict):
        return "an object"
    return "a list" if isinstance(value, list) else f"the number {value:g}"
