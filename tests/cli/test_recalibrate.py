"""`bnkit recalibrate`, `adapt`, `freeze` and `unfreeze` as a person calls them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
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
    assert "over 2,880 values per channel in 5 batches" in result.stdout
    assert "80 samples were read from data.npz (x_train and x_test)." in result.stdout
    assert f"written: {out}" in result.stdout
    with np.load("data.npz") as stored:
        images = np.concatenate([stored["x_train"], stored["x_test"]])
    expected = bnkit.recalibrate(
        build(folder), images, batch_size=16, sequential=bool(sequential)
    ).model.state_dict()
    loaded = bnkit.load(build(folder), out).model.state_dict()
    for key, value in expected.items():
        torch.testing.assert_close(loaded[key], value)


IMAGES = np.random.default_rng(1).random((50, 3, 8, 8), dtype=np.float32)
ONES = np.ones(50, dtype=np.int64)


@pytest.mark.parametrize(
    ("name", "arrays", "told"),
    [
        ("labelled", {"x": IMAGES, "y": np.arange(50) % 5}, "(x)."),
        ("one-class", {"labels": ONES, "images": IMAGES}, "(images)."),
        ("unlabelled", {"data": IMAGES}, "(data)."),
        ("unnamed", {"arr_0": IMAGES, "arr_1": ONES}, "Arrays that are not read: arr_1."),
        ("array", None, "50 samples were read from array.npy."),
    ],
)
def test_all_samples_of_a_file_are_used_and_none_needs_a_label(
    folder: Path, name: str, arrays: dict[str, np.ndarray] | None, told: str
) -> None:
    if arrays is None:
        file = f"{name}.npy"
        np.save(file, IMAGES)
    else:
        file = f"{name}.npz"
        np.savez(file, **arrays)
    out = folder / "new.safetensors"
    result = call("recalibrate", "net.py:net", "--data", file, "--out", out)
    assert result.exit_code == 0, result.exception
    assert f"50 samples were read from {file}" in result.stdout
    assert told in result.stdout
    expected = bnkit.recalibrate(build(folder), IMAGES).model.state_dict()
    for key, value in bnkit.load(build(folder), out).model.state_dict().items():
        torch.testing.assert_close(value, expected[key])


@pytest.mark.parametrize("inside", ["", "day/one/", "train/only-class/"])
def test_all_images_of_a_folder_are_used_however_it_is_sorted(folder: Path, inside: str) -> None:
    root = folder / "images"
    for index, pixels in enumerate((IMAGES[:6] * 255).astype(np.uint8)):
        file = root / (inside if index else "") / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.transpose(1, 2, 0)).save(file)
    (root / "notes.txt").write_text("no image")
    result = call("adapt", "net.py:net", "--data", "images", "--prior", 2)
    assert result.exit_code == 0, result.exception
    assert "6 samples were read from images." in result.stdout
    assert "Files that are no images and not read: notes.txt." in result.stdout
    assert "; 0.75 of that taken" in result.stdout


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
        in call("adapt", "net.py:net", "--data", "data.npz", "--prior", 320).stdout
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
        (("recalibrate", "net.py:net", "--data", "empty.npz"), "has no images; it holds y"),
        (("recalibrate", "net.py:net", "--data", "both.npz"), "holds both x and data"),
        (("recalibrate", "net.py:net", "--data", "objects.npy"), "holds Python objects"),
        (("adapt", "net.py:net", "--data", "none", "--weight", "1"), "holds no images"),
        (("freeze", "net.py:net", "--layers", "layer9"), "The nearest are"),
        (("unfreeze", "net.py:net"), "no layer that bnkit.freeze froze"),
    ],
)
def test_mistakes_are_one_message(arguments: tuple[str, ...], message: str) -> None:
    Path("none").mkdir()
    np.savez("empty.npz", y=ONES)
    np.savez("both.npz", x=IMAGES, data=IMAGES)
    np.save("objects.npy", np.array([{}, []], dtype=object))
    failed = call(*arguments)
    assert isinstance(failed.exception, BnkitError)
    assert message in str(failed.exception)
