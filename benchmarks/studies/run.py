"""How long the quick profiles of all studies take, one after the other, and what they find.

Each is `bnkit study run NAME --quick` in a process of its own, into a folder that holds nothing
yet. Bar: 25 minutes together on two cores. `cpu` is the time that all of its processes computed; on
two cores wall time cannot be less than half of it, and on a machine with other work it is more.

With --pages the results are kept in its `results` folder, and the pages are written anew. --full
runs the studies in full instead, for their pages and without a bar: name those wanted, and the
folder that their data lie in.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bnkit.lab.study import study_names
from bnkit.lab.study_pages.__main__ import main as write_study_pages

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from result_rows import measured_on, write_rows

BAR = 25 * 60.0


def timed_run(name: str, folder: Path, options: list[str]) -> dict[str, Any]:
    """Run a study into an empty folder and return its row.

    Raises:
        RuntimeError: the run ended with an error, which it has printed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "bnkit", "study", "run", name, *options]
    before, start = _cpu_seconds(), time.perf_counter()
    done = subprocess.run([*command, "--out", str(folder), "--quiet"], check=False)
    wall, cpu = time.perf_counter() - start, _cpu_seconds() - before
    if done.returncode:
        raise RuntimeError(f"the study {name} ended with exit status {done.returncode}")
    return {"study": name, "unit": "s", "wall": round(wall, 1), "cpu": round(cpu, 1)}


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def total_row(rows: list[dict[str, Any]], is_full: bool) -> dict[str, Any]:
    """Return the sum over all studies; of quick profiles against the bar."""
    wall = sum(row["wall"] for row in rows)
    cpu = sum(row["cpu"] for row in rows)
    total = {"study": "together", "unit": "s", "wall": round(wall, 1), "cpu": round(cpu, 1)}
    return total if is_full else {**total, "bar": BAR, "within bar": wall <= BAR}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="studies; default all")
    parser.add_argument("--full", action="store_true", help="the full profiles")
    parser.add_argument("--data-dir", type=Path, help="where data sets lie")
    parser.add_argument("--runs", type=Path, help="their folders; default runs/quick or runs/full")
    parser.add_argument("--out", type=Path, help="folder for studies.json or studies_full.json")
    parser.add_argument("--pages", type=Path, help="docs/studies: keep the results there")
    options = parser.parse_args()
    names = options.names or study_names()
    root = options.runs or Path("runs", "full" if options.full else "quick")
    given = [] if options.full else ["--quick"]
    given += ["--data-dir", str(options.data_dir)] if options.data_dir else []
    rows = []
    for name in names:
        rows.append(timed_run(name, root / name, given))
        sys.stdout.write(f"{name}: {rows[-1]['wall']} s\n")
        sys.stdout.flush()
    file = "studies_full" if options.full else "studies"
    write_rows(file, [*rows, total_row(rows, options.full)], options.out)
    if options.pages:
        runs = [str(root / name) for name in names]
        commit = str(measured_on()["commit"])
        sys.exit(write_study_pages([str(options.pages), "--keep", *runs, "--commit", commit]))


if __name__ == "__main__":
    main()
