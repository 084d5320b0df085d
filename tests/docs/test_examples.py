"""Every example runs, from an empty folder, as a reader runs it: as the main program."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from source_tree import ROOT

PRINTED = {
    "accelerate.py": ["0.1: the ReLU after it fused", "runs 2 times", "3 of 3 batch norms"],
    "against_the_reference.py": ["here: eager", "largest difference of any gradient: "],
    "fold.py": ["1: folded into 0", "pads with zeros", "with a correction of the border"],
    "freeze.py": ["0.1: frozen", "three steps: True", "no longer frozen", "batches counted: 0"],
    "recalibrate.py": ["off by up to", "2 passes over 3 batches", "largest shift: "],
    "prune.py": ["0: 12 → 8 channels", "went into its bias", "parameters: 1,445 → 965"],
    "convert.py": [
        "1: BatchNorm2d became group norm, a GroupNorm with 32 groups",
        "4: skipped, left as it is, because it is a NormAct",
        "parameters left to train: 6",
        "after undo: 12",
    ],
    "insert_batch_norm.py": ["0: bnkit's BatchNorm2d inserted", "2.norm: its scale and shift"],
    "probe_your_own_loop.py": [
        "without: the first layer's gradient is 0.0",
        "with: the first layer's gradient is",
        "the page: runs/own-loop/report.html",
    ],
    "own_network.py": ["test accuracy", "accuracy supported", "training-loss supported"],
    "remove_batch_norm.py": [
        "0: bias of zeros added",
        "Identity()",
        "1: its scale and shift folded",
    ],
}


def test_every_example_is_listed() -> None:
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == PRINTED.keys()


def run_here(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run an example as the main program of this process, and return what it printed."""
    runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")
    return capsys.readouterr().out


def run_alone(name: str) -> str:
    """Run an example in a process of its own, and return what it printed."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# What it compiles cannot be followed through the shape annotations that these tests execute.
ALONE = {"accelerate.py"}


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_runs_and_prints_what_it_promises(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    printed = run_alone(name) if name in ALONE else run_here(name, capsys)
    for words in PRINTED[name]:
        assert words in printed, printed
