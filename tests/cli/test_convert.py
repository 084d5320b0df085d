"""`bnkit convert`, `bnkit remove` and `bnkit insert` as a person or a program calls them."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
import torch
import typer
from torch import nn
from typer.testing import CliRunner, Result

import bnkit
from bnkit.cli.convert import convert
from bnkit.cli.insert import insert
from bnkit.cli.remove import remove
from bnkit.errors import BnkitError

app = typer.Typer()
for command in (convert, remove, insert):
    app.command(command.__name__)(command)

NET = """
import torch
from torch import nn

def net():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3),
        nn.ReLU(), nn.Conv2d(8, 2, 3),
    )

def batch():
    return torch.randn(2, 3, 9, 9)
"""
SHAPE = ("--shape", "2x3x9x9")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def loaded(file: str) -> nn.Module:
    return bnkit.load(runpy.run_path("net.py")["net"](), file).model


def test_a_converted_model_is_written_and_loaded() -> None:
    result = call(
        "convert", "net.py:net", "--to", "group", "--groups", "4", *SHAPE, "--out", "g.safetensors"
    )
    assert result.exit_code == 0, result.stderr
    assert "a GroupNorm with 4 groups of 2 channels; weight and bias kept" in result.stdout
    assert "largest output difference in eval mode" in result.stdout
    assert loaded("g.safetensors")[1].num_groups == 4


def test_conversion_needs_no_input_and_json_is_nothing_else() -> None:
    result = call("convert", "net.py:net", "--to", "bnkit", "--layers", "1", "--format", "json")
    content = json.loads(result.stdout)
    assert content["changes"] == [{"path": "1", "what": "BatchNorm2d became bnkit's"}]
    assert content["difference"] is None


def test_batch_norm_is_removed_with_its_scale_folded() -> None:
    result = call(
        "remove", "net.py:net", "--example", "net.py:batch", "--fold-scale", "--out", "r.pt2"
    )
    assert result.exit_code == 0, result.stderr
    assert "1: its scale and shift folded into 0" in result.stdout
    program = torch.export.load("r.pt2").module()
    assert program(torch.randn(2, 3, 9, 9)).shape == (2, 2, 3, 3)
    without = call("remove", "net.py:net", *SHAPE, "--no-restore-bias")
    assert "bias of zeros" not in without.stdout
    assert "0: bias of zeros" in call("remove", "net.py:net", *SHAPE).stdout
    unknown = call("remove", "net.py:net", *SHAPE, "--layers", "0")
    assert "the pattern '0' names no batch norm" in str(unknown.exception)


def test_batch_norms_are_inserted() -> None:
    result = call("insert", "net.py:net", *SHAPE, "--out", "i.safetensors", "--kind", "torch")
    assert result.exit_code == 0, result.stderr
    assert "3: torch's BatchNorm2d inserted behind it, its bias dropped" in result.stdout
    assert type(loaded("i.safetensors")[3].norm) is nn.BatchNorm2d
    behind = ("--where", "after-activation", "--after", "3")
    assert "behind its activation 4" in call("insert", "net.py:net", *SHAPE, *behind).stdout
    kept = call("insert", "net.py:net", *SHAPE, "--keep-bias")
    assert "its bias dropped" not in kept.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("convert", "net.py:net", "--to", "grup"), "Did you mean 'group'"),
        (("convert", "net.py:net", "--to", "group", "--layers", "bn1"), "The nearest are 1"),
        (("convert", "net.py:net", "--to", "torch", "--out", "a.txt"), "ends in .safetensors"),
        (("remove", "net.py:net"), "there is no input.*which layers feed.*--shape"),
        (("insert", "net.py:net"), "there is no input.*Give --shape"),
        (("insert", "net.py:net", *SHAPE, "--after", "9"), "names no conv or linear layer"),
        (("insert", "net.py:net", *SHAPE, "--where", "behind"), "one of before-activation"),
    ],
)
def test_a_mistake_is_one_message(arguments: tuple[str, ...], message: str, folder: Path) -> None:
    result = call(*arguments)
    assert isinstance(result.exception, BnkitError), result.exception
    with pytest.raises(BnkitError, match=message):
        raise result.exception
    assert result.stdout == ""
    assert {path.name for path in folder.iterdir()} <= {"net.py", "__pycache__"}
