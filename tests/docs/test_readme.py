"""Every block of the README runs, and prints what the README says it prints."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.command_line import Bnkit
from source_tree import ROOT

README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
PYTHON = [
    (code, BLOCKS[number + 1][1] if BLOCKS[number + 1][0] == "text" else "")
    for number, (language, code) in enumerate(BLOCKS)
    if language == "python"
]
COMMANDS = [
    line.partition("#")[0].strip()
    for language, code in BLOCKS
    if language == "sh"
    for line in code.splitlines()
]
NUMBER = re.compile(r"[−+-]?\d+\.?\d*(?:e-?\d+)?")
# Processors sum float32 in different orders, and training amplifies the last digit: a number may
# differ by this many units of its last printed place, words and layout may not differ.
LAST_PLACES = 3


def same_output(printed: str, promised: str) -> bool:
    """Return whether two texts have the same words, and numbers that differ in the last place."""

    def words(text: str) -> list[str]:
        return NUMBER.sub("#", text).split()

    def numbers(text: str) -> list[Decimal]:
        return [Decimal(found.replace("−", "-")) for found in NUMBER.findall(text)]

    if words(printed) != words(promised):
        return False
    pairs = zip(numbers(printed), numbers(promised), strict=True)
    return all(abs(ours - theirs) <= LAST_PLACES * last_place(theirs) for ours, theirs in pairs)


def last_place(number: Decimal) -> Decimal:
    """Return one unit of the last place that a number was printed with; 0 for a whole number."""
    exponent = number.as_tuple().exponent
    return Decimal((0, (1,), exponent)) if isinstance(exponent, int) and exponent < 0 else Decimal()


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python_blocks_print_what_the_readme_says(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, promised = PYTHON[number]
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    assert same_output(printed.getvalue(), promised), printed.getvalue()


def test_the_comparison_can_fail() -> None:
    assert same_output("accuracy 0.97", "accuracy 0.98")
    assert not same_output("accuracy 0.97", "accuracy 0.87")
    assert not same_output("0.0011", "0.0055")
    assert not same_output("3 seeds", "4 seeds")
    assert not same_output("refuted 0.97", "supported 0.97")


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("make")])
def test_make_targets_exist(command: str) -> None:
    """A dry run: `make test` inside the tests would run them without end."""
    done = subprocess.run(
        [*shlex.split(command), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ".venv/bin/" in done.stdout


@pytest.fixture
def own_study(tmp_path: Path) -> Path:
    """The files that the README asks a reader for, and its study file."""
    toml = next(code for language, code in BLOCKS if language == "toml")
    assert tomllib.loads(toml)["study"]["name"] == "mine"
    (tmp_path / "mine.toml").write_text(toml.replace("epochs = 10", "epochs = 1"), "utf-8")
    (tmp_path / "my_net.py").write_text(
        textwrap.dedent(
            """
            from torch import nn

            def build(input_shape, classes):
                return nn.Sequential(
                    nn.Conv2d(input_shape[0], 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
                    nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, classes),
                )
            """
        )
    )
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            folder = tmp_path / "images" / split / label
            folder.mkdir(parents=True)
            for number in range(24):
                pixels = generator.integers(0, 256, (8, 8), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("bnkit")])
def test_bnkit_commands_run(
    command: str,
    own_study: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(own_study)
    code, out, err = Bnkit(monkeypatch, capsys)(*shlex.split(command)[1:])
    assert code == 0, err
    assert out


def test_the_program_is_installed() -> None:
    """It starts one process; tests/cli run more of it so."""
    program = str(Path(sys.executable).with_name("bnkit"))
    done = subprocess.run([program, "study", "list"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_every_block_is_run_by_one_of_these_tests() -> None:
    assert {language for language, _ in BLOCKS} == {"python", "text", "sh", "toml"}
    assert all(command.split()[0] in ("make", "bnkit") for command in COMMANDS)


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target


def test_the_speed_is_that_of_the_kept_benchmark() -> None:
    results = ROOT / "benchmarks" / "cpu_kernels" / "results" / "bench.json"
    summaries = json.loads(results.read_text("utf-8"))["summaries"]
    wanted = ("bn-relu", "contiguous", "float32", "training", "both")
    keys = ("operation", "layout", "dtype", "mode", "pass")
    (found,) = [row for row in summaries if tuple(row[key] for key in keys) == wanted]
    said = f"{found['vs_torch']:.1f} times for batch norm and ReLU on contiguous float32"
    assert said in README
