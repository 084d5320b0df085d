"""`[tool.bnkit]` in pyproject.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnkit.checker.settings import read_settings
from bnkit.errors import CheckError


def write(folder: Path, text: str) -> Path:
    (folder / "pyproject.toml").write_text(text)
    return folder


def test_the_nearest_table_above_counts_and_its_paths_are_relative_to_it(tmp_path: Path) -> None:
    write(tmp_path, '[tool.bnkit]\nweights = "w.pt"\nselect = ["BN1"]\nbatch-size = 8\n')
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    write(inner, "[tool.other]\nkey = 1\n")
    settings = read_settings(inner)
    assert settings.get("select") == ["BN1"]
    assert settings.path("weights") == tmp_path.resolve() / "w.pt"
    assert settings.path("data") is None


def test_without_a_table_there_are_no_settings(tmp_path: Path) -> None:
    assert read_settings(tmp_path).get("batch-size", 3) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.bnkit]\nselekt = []\n", "unknown key 'selekt'.* Did you mean 'select'"),
        ('[tool.bnkit]\nbatch-size = "8"\n', "batch-size = '8'; it must be a whole number"),
        ("[tool.bnkit\n", "cannot be read"),
        ("[tool]\nbnkit = 3\n", "tool.bnkit is no table"),
    ],
)
def test_mistakes_name_file_and_remedy(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CheckError, match=message) as caught:
        read_settings(write(tmp_path, text))
    assert "pyproject.toml" in str(caught.value)
