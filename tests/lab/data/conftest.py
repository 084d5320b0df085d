"""Image folders and array files, made anew for each test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

MakeFolder = Callable[..., Path]
MakeArrays = Callable[..., Path]


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """Return a function that writes small images: {"train/cat": 3} makes three files of a class."""

    def make(counts: dict[str, int], mode: str = "L", size: tuple[int, int] = (5, 4)) -> Path:
        root = tmp_path / "images"
        generator = np.random.default_rng(0)
        for folder, count in counts.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
                pixels = generator.integers(0, 256, shape, dtype=np.uint8)
                Image.fromarray(pixels).save(root / folder / f"{index}.png")
        return root

    return make


@pytest.fixture
def make_npz(tmp_path: Path) -> MakeArrays:
    """Return a function that writes an .npz file of the arrays it is given."""

    def make(**arrays: Any) -> Path:
        path = tmp_path / "data.npz"
        np.savez(path, **arrays)
        return path

    return make
