from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bnkit.errors import TargetError
from bnkit.inspection.target import find_source, is_target, load_target, resolve_target


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(
        "from neighbour import width\n"
        "class Nets:\n    small = width\n"
        "def build():\n    return width\n"
    )
    (tmp_path / "neighbour.py").write_text("width = 7\n")
    (tmp_path / "broken.py").write_text("def f(:\n")
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "__init__.py").write_text("")
    (tmp_path / "own_package" / "nets.py").write_text("def build():\n    return 5\n")
    return tmp_path


def test_the_form_of_a_target() -> None:
    assert is_target("net.py:build")
    assert is_target("package.module:build")
    assert not is_target("three-conv")
    assert not is_target("net.py:")


def test_a_file_can_import_its_neighbours_and_leaves_the_import_path_alone(folder: Path) -> None:
    path = list(sys.path)
    assert load_target("net.py:build", folder)() == 7
    assert load_target("net.py:Nets.small", folder) == 7
    assert sys.path == path


def test_a_module_is_found_from_the_folder(folder: Path) -> None:
    assert load_target("own_package.nets:build", folder)() == 5
    assert find_source("own_package.nets:build", folder) == folder / "own_package" / "nets.py"


def test_a_changed_file_is_imported_anew(folder: Path) -> None:
    (folder / "changing.py").write_text("value = 1\n")
    assert load_target("changing.py:value", folder) == 1
    (folder / "changing.py").write_text("value = 2\n")
    assert load_target("changing.py:value", folder) == 2


def test_paths_become_absolute_and_modules_stay(folder: Path) -> None:
    assert resolve_target("net.py:build", folder) == f"{folder / 'net.py'}:build"
    assert resolve_target("package.net:build", folder) == "package.net:build"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nets.py:build", r"there is no file .*nets.py.*Did you mean net.py\?"),
        ("no/such/net.py:build", "There is no folder"),
        ("net.py:biuld", r"no attribute 'biuld'.*Did you mean 'build'\?"),
        ("broken.py:f", r"importing .*broken.py raised SyntaxError"),
        ("no_such_package:f", "no module 'no_such_package'"),
        ("no_such_package.module:f", "no module 'no_such_package.module'"),
        ("net.py", "has the form file.py:attribute"),
    ],
)
def test_a_bad_target_is_one_message(folder: Path, text: str, words: str) -> None:
    with pytest.raises(TargetError, match=words):
        load_target(text, folder)
