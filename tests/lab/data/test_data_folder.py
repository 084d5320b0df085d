from __future__ import annotations

from pathlib import Path

import pooch
import pytest

from bnkit.errors import DataError
from bnkit.lab.data.data_folder import data_folder, folders_below


def test_the_folder_given_goes_before_the_variable_and_that_before_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BNKIT_DATA_DIR", str(tmp_path / "variable"))
    assert data_folder(tmp_path / "given") == tmp_path / "given"
    assert data_folder() == tmp_path / "variable"
    monkeypatch.setenv("BNKIT_DATA_DIR", "")
    assert data_folder() == Path(pooch.os_cache("bnkit"))


def test_home_and_relative_folders_are_resolved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert data_folder("x") == tmp_path / "x"
    assert data_folder("~/x") == tmp_path / "home" / "x"


@pytest.mark.parametrize("by_variable", [False, True])
def test_a_file_is_refused(tmp_path, monkeypatch, by_variable):
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("BNKIT_DATA_DIR", str(file))
    name = "BNKIT_DATA_DIR" if by_variable else "--data-dir"
    with pytest.raises(DataError, match=f"is a file; .*, as {name}"):
        data_folder(None if by_variable else file)


def test_folders_are_listed_nearest_first_three_deep_without_hidden_and_split_ones(tmp_path):
    for name in ("b/c/d/e", "a", ".hidden/x", "b/train/0"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "a" / "file").touch()
    listed = list(folders_below(tmp_path))
    names = [folder.path.relative_to(tmp_path).as_posix() for folder in listed]
    assert names == [".", "a", "b", "b/c", "b/c/d"]
    assert [*listed[1].files] == ["file"]
    assert [*listed[2].folders] == ["c", "train"]


def test_a_folder_that_is_not_there_holds_nothing(tmp_path):
    (only,) = folders_below(tmp_path / "absent")
    assert (only.files, only.folders) == ({}, {})
