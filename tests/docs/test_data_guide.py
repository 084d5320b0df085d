"""The guide to data sets: its blocks run and print what it says, its commands and names exist."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer

from bnkit.cli.main import app
from bnkit.errors import DataError
from bnkit.lab.data import DataSettings, open_source
from bnkit.lab.data.inventory import EMBEDDED_SETS
from bnkit.lab.data.stored_sets import CIFAR_BINARY, CIFAR_PYTHON, HINDI_ARCHIVES, STORED_SETS
from helpers.stored_files import real_data
from source_tree import ROOT

GUIDE = (ROOT / "docs" / "guides" / "data.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", GUIDE, flags=re.MULTILINE | re.DOTALL)


def block(language: str, number: int = 0) -> str:
    return [code for kind, code in BLOCKS if kind == language][number]


def test_the_python_block_prints_what_the_guide_says() -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block("python"), "data.md", "exec"), {"__name__": "guide"})
    assert printed.getvalue() == block("text", 1)


def test_the_message_shown_is_the_one_that_is_raised(tmp_path: Path) -> None:
    folder = tmp_path / "my-data"
    folder.mkdir()
    with pytest.raises(DataError) as caught:
        open_source(DataSettings(name="mnist"), folder).load()
    assert str(caught.value).replace(str(folder), "my-data") == block("text").strip()


def test_the_study_table_loads_as_the_guide_says() -> None:
    settings = DataSettings.model_validate(tomllib.loads(block("toml"))["data"])
    data = open_source(settings, real_data("mnist")).load()
    assert (len(data.train_labels), len(data.test_labels)) == (3000, 1000)


def test_every_set_and_file_is_named() -> None:
    for name in [*EMBEDDED_SETS, *STORED_SETS, *HINDI_ARCHIVES, CIFAR_BINARY, CIFAR_PYTHON]:
        assert f"`{name}`" in GUIDE, name
    for file in STORED_SETS["mnist"].files:
        assert f"`{file.name}`" in GUIDE


@pytest.mark.parametrize("command", block("sh").splitlines())
def test_commands_are_ones_that_the_command_line_takes(command: str) -> None:
    _, group, name, *arguments = shlex.split(command)
    found = typer.main.get_command(app).commands[group].commands[name]
    with found.make_context(name, arguments):
        pass
