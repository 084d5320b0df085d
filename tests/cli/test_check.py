"""`bnkit check` and `bnkit rule` as a person or a program calls them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner, Result

from bnkit.cli.check import check
from bnkit.cli.rule import rule
from bnkit.errors import BnkitError

app = typer.Typer()
app.command("check")(check)
app.command("rule")(rule)

NET = """
import torch
from torch import nn

print("noise on import")

def build():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(2))

def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())

def broken():
    model = net()
    model[1].running_var[2] = float("inf")
    return model

def needs(width):
    return net()

def batch():
    return torch.randn(2, 3, 8, 8)

plain = nn.Linear(3, 2)
number = 3
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_clean_model_exits_with_0_and_says_what_did_not_run() -> None:
    result = call("check", "net.py:net")
    assert result.exit_code == 0, result.stderr
    assert "BN401" in result.stdout.split("Not run:")[1]
    assert "noise" not in result.stdout


def test_an_error_exits_with_1() -> None:
    result = call("check", "net.py:broken", "--shape", "2x3x8x8")
    assert result.exit_code == 1
    assert "E BN101 nonfinite-statistics: 1" in result.stdout
    assert "I BN401 redundant-bias: 0" in result.stdout


def test_json_and_sarif_are_nothing_else() -> None:
    arguments = ("check", "net.py:broken", "--example", "net.py:batch", "--format")
    assert json.loads(call(*arguments, "json").stdout)["target"] == "net.py:broken"
    assert json.loads(call(*arguments, "sarif").stdout)["version"] == "2.1.0"


def test_select_ignore_and_batch_size() -> None:
    arguments = ("check", "net.py:broken", "--shape", "2x3x8x8", "--batch-size", 8)
    chosen = json.loads(call(*arguments, "--select", "BN2,BN4", "--format", "json").stdout)
    assert "BN201" in chosen["ran"]
    assert not any(code.startswith("BN1") for code in chosen["ran"])
    assert call(*arguments, "--ignore", "BN101").exit_code == 0


def test_defaults_stand_in_pyproject(folder: Path) -> None:
    (folder / "pyproject.toml").write_text(
        '[tool.bnkit]\nshape = "2x3x8x8"\nignore = ["BN101"]\nformat = "json"\n'
        '[[tool.bnkit.silence]]\ncode = "BN401"\nlayer = "0"\nreason = "old checkpoints"\n'
    )
    content = json.loads(call("check", "net.py:broken").stdout)
    assert content["exit_code"] == 0
    silenced = [finding["silenced"] for finding in content["findings"] if finding["silenced"]]
    assert silenced == ["old checkpoints"]


def test_weights_and_data(folder: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    torch.save(model.state_dict(), folder / "w.pt")
    result = call("check", "net.py:net", "--weights", "w.pt")
    assert "although weights were loaded" in result.stdout
    rng = np.random.default_rng(0)
    images, labels = rng.random((20, 3, 8, 8), np.float32), np.arange(20) % 2
    np.savez(folder / "d.npz", images=images, labels=labels)
    content = json.loads(call("check", "net.py:net", "--data", "d.npz", "--format", "json").stdout)
    assert not any("real data" in item["reason"] for item in content["not_run"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing.py:net",), "there is no file"),
        (("net.py:nets",), "has no attribute 'nets'.* Did you mean 'net'"),
        (("net.py:number",), "gives an object of type int; a torch.nn.Module"),
        (("net.py:needs",), r"needs raised TypeError: .*'width'.* called without arguments"),
        (("net.py:build",), r"3\.weight: is uninitialized"),
        (("net.py:net", "--shape", "2x4x8x8"), r"^0: forward raised RuntimeError"),
        (("net.py:net", "--shape", "2,3"), "--shape 2,3; sizes with x between them"),
        (("net.py:net", "--shape", "2x3x8x8", "--example", "net.py:batch"), "both given"),
        (("net.py:net", "--select", "BN4011"), "there is no rule 'BN4011'.* Did you mean 'BN401'"),
        (("net.py:net", "--weights", "w.pt"), "there is no such file"),
        (("net.py:net", "--data", "none"), "there is no such folder or file"),
    ],
)
def test_a_mistake_is_one_message(arguments: tuple[str, ...], message: str) -> None:
    result = call("check", *arguments)
    assert isinstance(result.exception, BnkitError), result.exception
    with pytest.raises(BnkitError, match=message):
        raise result.exception
    assert "\n" not in str(result.exception)
    assert result.stdout == ""


@pytest.mark.parametrize("debug", [False, True])
def test_the_program_exits_with_2_and_shows_a_traceback_on_demand(debug: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from bnkit.cli.main import main; main()", "check", "net.py:net"]
        + ["--shape", "2x9x8x8"]
        + ["--debug"] * debug,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "bnkit: 0: forward raised RuntimeError" in done.stderr
    assert ("Traceback" in done.stderr) == debug


def test_a_model_without_normalization_says_so() -> None:
    result = call("check", "net.py:plain")
    assert result.exit_code == 0
    assert "no normalization layer" in result.stdout


def test_rules_are_shown_and_listed() -> None:
    page = call("rule", "redundant-bias").stdout
    assert page.startswith("# BN401: redundant-bias")
    assert "## When it is fine" in page
    assert "BN401  redundant-bias" in call("rule", "all").stdout
    assert json.loads(call("rule", "BN401", "--format", "json").stdout)["safety"] == "exact"
    codes = [item["code"] for item in json.loads(call("rule", "all", "--format", "json").stdout)]
    assert codes == sorted(codes)
    assert isinstance(call("rule", "BN000").exception, BnkitError)


def test_html_is_a_page_and_the_exit_code_is_that_of_the_findings(folder: Path) -> None:
    result = call("check", "net.py:broken", "--format", "html")
    assert result.exit_code == 1
    assert result.stdout_bytes.decode("utf-8").startswith("<!doctype html>")
    assert "net.py:broken" in result.stdout
    assert "noise" not in result.stdout
