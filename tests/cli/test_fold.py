"""`bnkit fold` as a person or a program calls it."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
import torch
import typer
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

import bnkit
from bnkit.cli.fold import fold
from bnkit.errors import BnkitError
from helpers.drawn import drawn

app = typer.Typer()
app.command("fold")(fold)
app.command("other")(lambda: None)

NET = """
from torch import nn

def build():
    return nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "fold_net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["fold", "fold_net.py:build", *map(str, arguments)])


def test_weights_are_folded_written_and_loaded_again(folder: Path) -> None:
    model = drawn(importlib.import_module("fold_net").build())
    save_file(model.state_dict(), folder / "w.safetensors")
    given = ("--weights", "w.safetensors", "--shape", "2x3x8x8")
    result = call(*given, "--border", "correct", "--out", "folded.safetensors")
    assert result.exit_code == 0, result.output
    assert "0: folded into 1, with a correction of the border" in result.stdout
    assert "written: folded.safetensors" in result.stdout
    fresh = importlib.import_module("fold_net").build().eval()
    loaded = bnkit.load(fresh, folder / "folded.safetensors").model
    x = torch.randn(2, 3, 5, 9)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), model(x), rtol=0, atol=1e-5)


def test_the_shape_may_stand_in_pyproject(folder: Path) -> None:
    (folder / "pyproject.toml").write_text('[tool.bnkit]\nshape = "2x3x8x8"\n')
    assert "2: folded into 1" in call().stdout


def test_json_names_what_was_skipped() -> None:
    content = json.loads(call("--shape", "2x3x8x8", "--format", "json", "--layers", "0").stdout)
    assert content["rewrite"] == "fold"
    assert [item["path"] for item in content["changes"]] == ["0"]
    assert content["relative_difference"] < 1e-5
    with_shift = call("--shape", "2x3x8x8", "--layers", "2").stdout
    assert "2: folded into 1" in with_shift


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Give --shape"),
        (("--shape", "2x3x8x8", "--layers", "layer9"), "names no batch norm"),
        (("--shape", "2x3x8x8", "--out", "no/folded.safetensors"), "there is no folder"),
        (("--shape", "0x3x8x8"), "without samples"),
    ],
)
def test_mistakes_are_told(arguments: tuple[str, ...], message: str) -> None:
    result = call(*arguments)
    assert isinstance(result.exception, BnkitError)
    assert message in str(result.exception)
