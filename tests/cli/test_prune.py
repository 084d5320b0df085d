"""`bnkit prune` as a person or a program calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from bnkit.cli.prune import prune
from bnkit.errors import BnkitError

app = typer.Typer()
app.command("prune")(prune)
app.command("other")(lambda: None)

NET = """
import torch
from torch import nn

def net():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 2)
    )
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["prune", "net.py:net", *map(str, arguments)])


def test_it_prints_the_account_and_writes_the_model(folder: Path) -> None:
    result = call("--amount", 0.5, "--shape", "2x3x8x8", "--out", "small.safetensors")
    assert result.exit_code == 0, result.stderr
    assert "0: 8 → 4 channels" in result.stdout
    assert "parameters: 818 → 410" in result.stdout
    assert (folder / "small.safetensors").exists()


def test_json_is_nothing_else() -> None:
    options = ("--by", "norm", "--scope", "layer", "--format", "json")
    content = json.loads(call("--amount", 0.5, "--shape", "2x3x8x8", *options).stdout)
    assert content["rewrite"] == "prune"
    assert {"path": "0", "what": "8 → 4 channels"} in content["changes"]
    assert (content["parameters_before"], content["parameters_after"]) == (818, 410)
    assert content["multiply_adds_after"] < content["multiply_adds_before"]
    assert content["amount"] == 0.5
    assert content["channels"] == {"0": {"before": 8, "after": 4}}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--amount", 1, "--shape", "2x3x8x8"), "amount=1.0"),
        (("--amount", 0.5), "there is no input; one forward shows which channels"),
        (("--amount", 0.5, "--shape", "2x3x8x8", "--layers", "none"), "names no conv"),
        (("--amount", 0.5, "--shape", "2x3x8x8", "--out", "no/where.safetensors"), "no folder"),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(
    folder: Path, options: tuple[object, ...], said: str
) -> None:
    result = call(*options)
    assert isinstance(result.exception, BnkitError)
    assert said in str(result.exception)
    assert {path.name for path in folder.iterdir()} <= {"net.py", "__pycache__"}
