"""What the report of a large study costs: writing it, its size, and opening it in a browser.

The study: 30 trials × 5,000 recorded steps × 5 probes, beside losses and accuracies at every step;
two of the probes have three layers, one of them three percentiles of each.

Bars: written in under 5 s beyond imports, under 8 MB, ready to use in under 2 s in headless
Chromium.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from result_rows import spread, write_rows

from helpers.browser import ARGUMENTS, NAMES, open_page
from helpers.made_studies import METRIC_SCHEMA, STUDY, write_trial

MIB = 2**20
STEPS = 5000
SEEDS = 15
LAYERS = ("features.0", "features.3", "head")
WHOLE = ("train loss", "test loss", "train accuracy", "test accuracy")
# Metric → layers and keys: the five probes.
PROBES: dict[str, tuple[tuple[str | None, str | None], ...]] = {
    "activation percentile": tuple((layer, key) for layer in LAYERS for key in ("15", "50", "85")),
    "gradient norm": tuple((layer, None) for layer in LAYERS),
    "loss along gradient": tuple((None, key) for key in ("0.5", "1", "2", "4")),
    "gradient predictiveness": ((None, None),),
    "effective smoothness": ((None, None),),
}


def write_large_store(folder: Path) -> int:
    """Write the study's folder; return how many values are in it."""
    folder.mkdir(parents=True)
    text = STUDY.format(epochs=100, seeds=list(range(SEEDS)), rates=[0.1], first=0.1)
    (folder / "study.toml").write_text(text, encoding="utf-8")
    series = [(metric, None, None) for metric in WHOLE]
    series += [(metric, *place) for metric, places in PROBES.items() for place in places]
    steps = np.arange(1, STEPS + 1)
    count = 0
    for place, arm in enumerate(("none", "batch")):
        for seed in range(SEEDS):
            generator = np.random.default_rng([place, seed])
            fall = np.exp(-(1 + place) * steps / 1500)
            frames = []
            for number, (metric, layer, key) in enumerate(series):
                values = fall + 0.1 * generator.standard_normal(STEPS) + 0.2 * (number % 4) + 1
                frames.append(_frame(steps, metric, layer, key, values))
            whole = pl.concat(frames)
            count += whole.height
            folder_of_trial = write_trial(
                folder, f"{arm}-{seed:02d}", arm, {"training.optimizer.lr": 0.1}, seed, []
            )
            whole.write_parquet(folder_of_trial / "metrics.parquet")
    return count


def _frame(
    steps: Any, metric: str, layer: str | None, key: str | None, values: Any
) -> pl.DataFrame:
    unit = "share" if "accuracy" in metric else "nat"
    columns = {"step": steps, "epoch": (steps + 49) // 50, "value": values}
    fixed = {"metric": metric, "layer": layer, "key": key, "unit": unit}
    frame = pl.DataFrame(columns).with_columns(
        pl.lit(text, dtype=pl.String).alias(name) for name, text in fixed.items()
    )
    return frame.select(pl.col(name).cast(kind) for name, kind in METRIC_SCHEMA.items())


def writing_seconds(folder: Path, repeats: int) -> tuple[list[float], list[float]]:
    """Return how long `judge_again` takes (reading the store, judging, writing), wall and CPU."""
    import bnkit.lab

    times, processor = [], []
    for _ in range(repeats + 1):
        start, began = time.perf_counter(), time.process_time()
        bnkit.lab.judge_again(folder)
        times.append(time.perf_counter() - start)
        processor.append(time.process_time() - began)
    # the first call pays for the imports
    return times[1:], processor[1:]


def opening_seconds(path: Path, repeats: int) -> list[float] | None:
    """Return how long it takes from opening the file to drawn figures; None without a browser."""
    import shutil

    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    with sync_playwright() as running:
        program = next(filter(None, map(shutil.which, NAMES)), running.chromium.executable_path)
        if not Path(program).is_file():
            return None
        browser = running.chromium.launch(executable_path=program, args=ARGUMENTS)
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            opened = open_page(browser, path, viewport={"width": 1200, "height": 900})
            opened.page.locator(".plot .main-svg").first.wait_for(state="attached")
            # answers only once the scripts that ran are done
            opened.page.evaluate("new Promise((done) => requestIdleCallback(done))")
            times.append(time.perf_counter() - start)
            opened.page.close()
        browser.close()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="folder for report.json")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "large"
        values = write_large_store(folder)
        written, processor = writing_seconds(folder, options.repeats)
        page = folder / "report.html"
        opened = opening_seconds(page, options.repeats)
        row = {
            "trials": 2 * SEEDS,
            "steps": STEPS,
            "probes": len(PROBES),
            "values": values,
            "written_s": spread(written),
            "written_cpu_s": spread(processor),
            "size_mb": round(page.stat().st_size / 1e6, 2),
            "opened_s": None if opened is None else spread(opened),
        }
    write_rows("report", [row], options.out)


if __name__ == "__main__":
    main()
