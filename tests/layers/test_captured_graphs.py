"""Runs captured_graphs.py where no import hook stands in the way of graph capture."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_compile_and_export_give_what_eager_gives() -> None:
    program = Path(__file__).with_name("captured_graphs.py")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "all captured\n"
