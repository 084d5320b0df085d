"""The guide's study files are read, its Python is run, and what it prints is compared."""

from __future__ import annotations

import contextlib
import io
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bnkit.errors import DataError
from bnkit.lab.data import DataSettings, from_arrays, open_source

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "own-data.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind == language]


def printed_by_each_block() -> list[str]:
    scope: dict[str, object] = {}
    printed = []
    for text in blocks("python"):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(text, scope)
        printed.append(output.getvalue())
    return [text for text in printed if text]


def test_python_blocks_print_what_stands_below_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    *outputs, _message = blocks("text")
    assert printed_by_each_block() == outputs


def test_the_message_shown_is_the_one_that_is_raised():
    labels = np.arange(100) % 10 + 1
    with pytest.raises(DataError) as caught:
        from_arrays((np.zeros((100, 2)), labels)).load()
    assert str(caught.value) == blocks("text")[-1].strip()


def test_study_files_of_the_guide_load(tmp_path, monkeypatch, make_folder):
    monkeypatch.chdir(tmp_path)
    make_folder({"a": 30, "b": 30}, mode="RGB").rename("my-images")
    printed_by_each_block()  # writes my-data.npz
    folder, arrays = (
        DataSettings.model_validate(tomllib.loads(text)["data"]) for text in blocks("toml")
    )
    assert open_source(folder).load().input_shape == (1, 28, 28)
    assert open_source(arrays).load().train_images.min() == -2.0


def test_every_setting_is_explained():
    text = GUIDE.read_text("utf-8")
    for key in set(DataSettings.model_fields) - {"drop_last"}:
        assert re.search(rf"`{key}|^{key} =", text, re.MULTILINE), key


def test_an_image_that_is_stretched_is_noted_as_the_guide_says(make_folder):
    root = make_folder({"a": 2, "b": 2})
    Image.new("L", (9, 3)).save(root / "a/0.png")
    data = open_source(DataSettings(name="folder", path=root, batch_size=1, image_size=4)).load()
    assert "stretched, as the ratio of their sides differs: 4" in data.notes[-1]
