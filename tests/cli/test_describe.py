"""`bnkit describe` as a person or a program calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from bnkit.cli.describe import describe
from bnkit.errors import BnkitError

app = typer.Typer()
app.command("describe")(describe)
app.command("other")(lambda: None)

NET = """
import torch
from torch import nn

print("noise on import")

def net():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())

def batch():
    return torch.randn(2, 3, 9, 9)

plain = nn.Linear(3, 2)
number = 3
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["describe", *map(str, arguments)])


@pytest.mark.parametrize("given", [("--shape", "2x3x9x9"), ("--example", "net.py:batch")])
def test_it_prints_a_table(given: tuple[str, str]) -> None:
    result = call("net.py:net", *given)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("net.py:net: ")
    assert "N×49" in result.stdout
    assert "18" in result.stdout
    assert "noise" not in result.stdout


def test_json_is_nothing_else_and_the_shape_may_stand_in_pyproject(folder: Path) -> None:
    (folder / "pyproject.toml").write_text('[tool.bnkit]\nshape = "2x3x9x9"\n')
    content = json.loads(call("net.py:net", "--format", "json").stdout)
    assert content["layers"][0]["values_per_channel"] == ["N×49"]
    assert content["totals"]["parameters"] == 18


def test_a_model_without_normalization_says_so() -> None:
    result = call("net.py:plain")
    assert result.exit_code == 0
    assert "no normalization layer" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("net.py:nets",), "Did you mean 'net'"),
        (("net.py:number",), "gives an object of type int"),
        (("net.py:net", "--shape", "2x4x8x8"), r"^0: forward raised RuntimeError"),
        (("net.py:net", "--weights", "w.pt"), "there is no such file"),
    ],
)
def test_a_mistake_is_one_message(arguments: tuple[str, ...], message: str) -> None:
    result = call(*arguments)
    assert isinstance(result.exception, BnkitError), result.exception
    with pytest.raises(BnkitError, match=message):
        raise result.exception
    assert result.stdout == ""


def test_html_is_a_page_in_utf_8_and_nothing_else() -> None:
    result = call("net.py:net", "--shape", "2x3x9x9", "--format", "html")
    page = result.stdout_bytes.decode("utf-8")
    assert page.startswith("<!doctype html>")
    assert "N×49" in page
    assert "noise" not in page
