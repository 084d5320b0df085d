from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bnkit.errors import DataError
from bnkit.lab.data import DataSettings, from_arrays, memory, open_source


def test_images_that_fit_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_memory_bytes", lambda: 8000)
    memory.check_fits(10, 100, "x")
    with pytest.raises(DataError, match=r"x: 10 images of 101 values each .*image_size"):
        memory.check_fits(10, 101, "x")


def test_a_system_that_does_not_tell_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_memory_bytes", lambda: None)
    memory.check_fits(10**9, 10**9, "x")


def test_an_absurd_image_size_is_refused_before_decoding(tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(3):
            Image.new("L", (4, 4), number).save(tmp_path / label / f"{number}.png")
    settings = DataSettings(name="folder", path=tmp_path, image_size=(100_000, 100_000))
    with pytest.raises(DataError, match="GiB of memory"):
        open_source(settings).load()
    arrays = (np.zeros((6, 4, 4), np.uint8), np.arange(6) % 2)
    given = DataSettings(name="given", image_size=(100_000, 100_000))
    with pytest.raises(DataError, match="GiB of memory"):
        from_arrays(arrays, given).load()
