"""Batches from JSON: what is read, and one message for everything that is not a batch."""

from __future__ import annotations

import io
import json
import re
import sys

import numpy as np
import pytest

from bnkit.errors import BnkitError
from bnkit.explain import read_batch


@pytest.fixture
def write(tmp_path):
    """Write text or bytes to batch.json and return its path."""

    def write(content: str | bytes):
        path = tmp_path / "batch.json"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize("shape", [(3, 2), (2, 3, 4), (2, 3, 4, 5), (2, 1, 1, 1), (1, 3, 2)])
def test_a_nested_list_keeps_its_shape_and_numbers(write, shape):
    x = np.random.default_rng(0).normal(size=shape)
    batch = read_batch(write(json.dumps(x.tolist())))
    np.testing.assert_array_equal(batch.x, x, strict=True)
    assert (batch.eps, batch.momentum) == (1e-5, 0.1)


def test_an_object_gives_every_setting(write):
    content = {
        "x": [[1, 2.5], [3, 4]],
        "weight": [1.5, 2],
        "bias": [0, -1],
        "eps": 0.001,
        "momentum": 1,
        "running_mean": [7, 8],
        "running_var": [0, 2],
    }
    batch = read_batch(write(json.dumps(content)))
    for key in ("x", "weight", "bias", "running_mean", "running_var"):
        np.testing.assert_array_equal(getattr(batch, key), np.array(content[key], dtype=float))
    assert (batch.eps, batch.momentum) == (0.001, 1.0)


def test_a_byte_order_mark_is_no_obstacle(write):
    assert read_batch(write(b"\xef\xbb\xbf[[1], [2]]")).x.shape == (2, 1)


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"[[1], [2]]")))
    assert read_batch("-").x.shape == (2, 1)


def test_standard_input_is_named_in_messages(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(BnkitError, match=r"^standard input, line 1, column 1: the file is empty; "):
        read_batch("-")


REFUSED = {
    "empty file": ("", "the file is empty"),
    "blank file": (" \n ", "the file is empty"),
    "not JSON": ("hello", ", line 1, column 1: the file is not JSON: expecting value"),
    "missing comma": ("[[1, 2],\n [3 4]]", ", line 2, column 5: the file is not JSON: expecting"),
    "unclosed": ("[[1, 2]", "the file is not JSON"),
    "two values": ("[[1]] [[2]]", "extra data"),
    "single quotes": ("{'x': [[1], [2]]}", ", line 1, column 2: the file is not JSON"),
    "not UTF-8": (b"\xff\xfe[\x00", "byte 0 is not UTF-8 text"),
    "too deep": ("[" * 100_000, "too deeply"),
    "a number": ("3", "the file holds the number 3"),
    "a text": ('"x"', 'the file holds the text "x"'),
    "null": ("null", "the file holds null"),
    "ragged rows": ("[[1, 2], [3]]", "x[1] is a list of 1, and x[0] is a list of 2"),
    "ragged images": (
        "[[[1, 2], [3]], [[1, 2], [3, 4]]]",
        "x[0][1] is a list of 1, and x[0][0] is",
    ),
    "ragged later": ("[[[1], [2]], [[1]]]", "x[1] is a list of 1, and x[0] is a list of 2"),
    "number among lists": ("[[1, 2], 3]", "x[1] is the number 3, and x[0] is a list of 2"),
    "list among numbers": ("[[1, 2], [3, [4]]]", "x[1][1] is a list; a number must stand there"),
    "null among lists": ("[[1, 2], null]", "x[1] is null, and x[0] is a list of 2"),
    "null value": ("[[1, null], [3, 4]]", "x[0][1] is null; a number must stand there"),
    "text value": ('[[1, 2], ["3", 4]]', 'x[1][0] is the text "3"; a number must stand there'),
    "long text": (f'[["{"a" * 500}"]]', f'x[0][0] is the text "{"a" * 20}…"'),
    "boolean": ("[[true], [false]]", "x[0][0] is true; a number must stand there"),
    "NaN": ("[[1], [NaN]]", "x[1][0] is NaN; a finite number must stand there"),
    "Infinity": ("[[1], [-Infinity]]", "x[1][0] is Infinity, or beyond 1.8e308"),
    "beyond float64": ("[[1], [1e400]]", "x[1][0] is Infinity, or beyond 1.8e308"),
    "integer beyond float64": (f"[[1], [1{'0' * 5000}]]", "x[1][0] is Infinity, or beyond"),
    "object in x": ('[[{"a": 1}], [2]]', "x[0][0] is an object"),
    "one axis": ("[1, 2, 3]", "x has shape (3,), 1 axis"),
    "five axes": ("[[[[[1], [2]]]]]", "x has shape (1, 1, 1, 2, 1), 5 axes"),
    "empty list": ("[]", "x has shape (0,), 1 axis"),
    "empty rows": ("[[], []]", "x has shape (2, 0), no values"),
    "one value per channel": ("[[1, 2, 3]]", "x has shape (1, 3), one value per channel"),
    "no x": ('{"weight": [1]}', 'the object has no key "x"'),
    "x twice": ('{"x": [[1], [2]], "x": [[3], [4]]}', 'the key "x" is given 2 times'),
    "x null": ('{"x": null}', "x is null; x must be a list of numbers"),
    "misspelt key": ('{"x": [[1], [2]], "wieght": [1]}', 'Perhaps "weight" is meant'),
    "misspelt running": (
        '{"x": [[1], [2]], "running_mena": [1]}',
        'Perhaps "running_mean" is meant',
    ),
    "gamma": ('{"x": [[1], [2]], "gamma": [1]}', 'unknown key "gamma"; the keys are x, weight'),
    "beta": ('{"x": [[1], [2]], "beta": [1]}', 'Perhaps "bias" is meant'),
    "far key": ('{"x": [[1], [2]], "zzzz": 1}', "Remove it"),
    "short weight": ('{"x": [[1, 2], [3, 4]], "weight": [1]}', "weight has 1 values, and x has 2"),
    "scalar weight": ('{"x": [[1], [2]], "weight": 2}', "weight is the number 2; weight must be a"),
    "null weight": ('{"x": [[1], [2]], "weight": null}', "weight is null"),
    "nested bias": ('{"x": [[1], [2]], "bias": [[1]]}', "bias has shape (1, 1)"),
    "ragged bias": ('{"x": [[1], [2]], "bias": [1, [2]]}', "bias[1] is a list; a number must"),
    "text bias": ('{"x": [[1], [2]], "bias": ["a"]}', 'bias[0] is the text "a"'),
    "negative running_var": ('{"x": [[1], [2]], "running_var": [-1]}', "running_var[0] is -1"),
    "eps 0": ('{"x": [[1], [2]], "eps": 0}', "got eps = 0.0"),
    "eps text": ('{"x": [[1], [2]], "eps": "small"}', "got eps = 'small'"),
    "eps list": ('{"x": [[1], [2]], "eps": [1]}', "got eps = [1.0]"),
    "eps true": ('{"x": [[1], [2]], "eps": true}', "got eps = True"),
    "eps NaN": ('{"x": [[1], [2]], "eps": NaN}', "got eps = nan"),
    "momentum 2": ('{"x": [[1], [2]], "momentum": 2}', "got momentum = 2.0"),
    "momentum null": ('{"x": [[1], [2]], "momentum": null}', "a cumulative average"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(write, name):
    content, message = REFUSED[name]
    path = write(content)
    with pytest.raises(BnkitError, match=re.escape(message)) as caught:
        read_batch(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert caught.value.required
    assert len(text) - len(str(path)) < 420, "a message, not a page"
    assert "\n" not in text


def test_a_file_that_is_missing_or_a_folder(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(BnkitError, match=r"the file cannot be read .*Check the path") as caught:
            read_batch(path)
        assert caught.value.where == str(path)


def test_a_list_without_numbers_at_any_depth(write):
    with pytest.raises(BnkitError, match="list"):
        read_batch(write("[[[]], [[1]]]"))
