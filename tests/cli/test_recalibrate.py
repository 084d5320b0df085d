"""`bnkit recalibrate`, `adapt`, `freeze` and `unfreeze` as a person calls them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from safetensors import safe_open
from typer.testing import CliRunner, Result

import bnkit
from bnkit.cli.adapt import adapt
from bnkit.cli.freeze import freeze
from bnkit.cli.recalibrate import recalibrate
from bnkit.cli.unfreeze import unfreeze
from bnkit.errors import BnkitError

app = typer.Typer()
for command in (recalibrate, adapt, freeze, unfreeze):
    app.command(command.__name__)(command)

NET = """
import torch
from torch import nn
import bnkit

def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4))

def frozen():
    return bnkit.freeze(net().train(), "1").model
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "net.py").write_text(NET)
    images = np.random.default_rng(0).random((40, 3, 8, 8), dtype=np.float32)
    labels = np.arange(40) % 2
    np.savez(tmp_path / "data.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def build(folder: Path) -> torch.nn.Module:
    space: dict[str, object] = {}
    exec((folder / "net.py").read_text(), space)
    return space["net"]()  # type: ignore[operator,no-any-return]


@pytest.mark.parametrize("sequential", [(), ("--sequential",)])
def test_recalibrate_writes_what_loads(folder: Path, sequential: tuple[str, ...]) -> None:
    out = folder / "new.safetensors"
    given = ("net.py:net", "--data", "data.npz", "--batch-size", 16, *sequential, "--out", out)
    result = call("recalibrate", *given)
    assert result.exit_code == 0, result.stderr
    assert "1: running mean off by up to" in result.stdout
    assert "over 1,440 values per channel in 3 batches" in result.stdout
    assert f"written: {out}" in result.stdout
    images = np.load("data.npz")["x_train"]
    expected = bnkit.recalibrate(
        build(folder), images, batch_size=16, sequential=bool(sequential)
    ).model.state_dict()
    loaded = bnkit.load(build(folder), out).model.state_dict()
    for key, value in expected.items():
        torch.testing.assert_close(loaded[key], value)


def test_recalibrate_exports_and_prints_json(folder: Path) -> None:
    out = folder / "new.pt2"
    given = (
        "net.py:net",
        "--data",
        "data.npz",
        "--layers",
        "3",
        "--shape",
        "2x3x8x8",
        "--out",
        out,
    )
    result = call("recalibrate", *given, "--format", "json")
    assert result.exit_code == 0, result.stderr
    assert [item["path"] for item in json.loads(result.stdout)["changes"]] == ["3"]
    assert out.exists()


def test_adapt_needs_a_weight() -> None:
    result = call("adapt", "net.py:net", "--data", "data.npz", "--weight", 0.3)
    assert "; 0.3 of that taken" in result.stdout
    assert (
        "; 0.2 of that taken"
        in call("adapt", "net.py:net", "--data", "data.npz", "--prior", 160).stdout
    )
    failed = call("adapt", "net.py:net", "--data", "data.npz")
    assert isinstance(failed.exception, BnkitError)
    assert "neither weight nor prior was given" in str(failed.exception)


def test_freeze_and_unfreeze(folder: Path) -> None:
    out = folder / "frozen.safetensors"
    result = call("freeze", "net.py:net", "--layers", "1", "--out", out)
    assert "1: frozen: running statistics stand still" in result.stdout
    with safe_open(out, framework="pt") as file:
        assert file.metadata()["rewrite"] == "freeze"
    assert not bnkit.load(build(folder), out).model.train()[1].training
    assert "1: no longer frozen" in call("unfreeze", "net.py:frozen").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("recalibrate", "net.py:net", "--data", "none.npz"), "no such folder or file"),
        (("recalibrate", "net.py:net", "--data", "data.npz", "--out", "x.bin"), "ends in"),
        (("freeze", "net.py:net", "--layers", "layer9"), "The nearest are"),
        (("unfreeze", "net.py:net"), "no layer that bnkit.freeze froze"),
    ],
)
def test_mistakes_are_one_message(arguments: tuple[str, ...], message: str) -> None:
    failed = call(*arguments)
    assert isinstance(failed.exception, BnkitError)
    assert message in str(failed.exception)
