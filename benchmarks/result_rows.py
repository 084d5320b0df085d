"""What every benchmark shares: where a row was measured, medians, and writing rows to a file."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bnkit._machine import processor

ROOT = Path(__file__).resolve().parents[1]


def measured_on() -> dict[str, Any]:
    """Return machine, commit and versions, which every row carries."""
    return {
        "machine": f"{processor()}, {os.cpu_count()} cores, {platform.system()}",
        "commit": _commit(),
        "versions": {name: version(name) for name in ("bnkit", "torch", "numpy")},
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def spread(values: list[float]) -> dict[str, float]:
    """Return median, minimum and maximum."""
    return {
        "median": round(statistics.median(values), 4),
        "min": round(min(values), 4),
        "max": round(max(values), 4),
    }


def write_rows(name: str, rows: list[dict[str, Any]], folder: Path | None) -> None:
    """Print rows, and write them as JSON if a folder is given."""
    for row in rows:
        print(json.dumps(row, ensure_ascii=False))
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        content = {**measured_on(), "rows": rows}
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"
