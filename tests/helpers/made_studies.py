"""A store with every kind of figure in it, written by the schema and by no study of bnkit's."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

ARMS = ("none", "batch")
LAYERS = ("features.0", "features.3", "head")
METRIC_SCHEMA: dict[str, Any] = {
    "step": pl.Int64,
    "epoch": pl.Int32,
    "metric": pl.String,
    "layer": pl.String,
    "key": pl.String,
    "value": pl.Float64,
    "unit": pl.String,
}
Row = tuple[int, int, str, str | None, str | None, float, str]

STUDY = """
[study]
name = "made"
title = "A made study"
question = "Does batch normalization smooth the way?"
[data]
name = "digits"
[network]
name = "three-conv"
[training]
epochs = {epochs}
[grid]
seed = {seeds}
"training.optimizer.lr" = {rates}
[arms.none]
norm = "none"
[arms.batch]
norm = "batch"
[[claims]]
id = "accuracy"
text = "test accuracy is higher with batch norm"
kind = "higher"
metric = "test accuracy"
better = "batch"
than = "none"
where = {{ "training.optimizer.lr" = {first} }}
published = {{ batch = 0.991, none = 0.924 }}
"""


def write_store(
    folder: Path,
    *,
    epochs: int = 20,
    seeds: Sequence[int] = (0, 1, 2),
    rates: Sequence[float] = (0.01, 0.1),
    diverged: Sequence[tuple[str, float, int]] = (("none", 0.1, 1),),
) -> Path:
    """Write a study's folder: two arms, a grid of learning rates, every probe at the first rate.

    Args:
        diverged: arm, learning rate, seed of the trials that diverged, halfway.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = STUDY.format(epochs=epochs, seeds=list(seeds), rates=list(rates), first=rates[0])
    (folder / "study.toml").write_text(text, encoding="utf-8")
    for place, arm in enumerate(ARMS):
        for rate in rates:
            for seed in seeds:
                end = epochs * 50 // 2 if (arm, rate, seed) in diverged else None
                name = f"trial-{arm}-{rate}-{seed}"
                rows = list(_rows(place, rate, seed, epochs, end, has_probes=rate == rates[0]))
                write_trial(folder, name, arm, {"training.optimizer.lr": rate}, seed, rows, end)
    return folder


def write_trial(
    folder: Path,
    name: str,
    arm: str,
    grid: dict[str, Any],
    seed: int,
    rows: Sequence[Row],
    diverged_step: int | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Write one trial's folder, with what the schema names and nothing else."""
    place = folder / "trials" / name
    place.mkdir(parents=True, exist_ok=True)
    record = {
        "store_version": 1,
        "id": name,
        "arm": arm,
        "grid": grid,
        "seed": seed,
        "spec": {"data": {"name": "digits"}, "training": {"loss": "cross-entropy"}},
        "status": "complete" if diverged_step is None else "diverged",
        "diverged_step": diverged_step,
        "versions": {"torch": "2.13.0"},
        "machine": {"cpu": "two cores"},
    }
    (place / "trial.json").write_text(json.dumps({**record, **(changes or {})}), encoding="utf-8")
    frame = pl.DataFrame(list(rows), schema=METRIC_SCHEMA, orient="row")
    frame.write_parquet(place / "metrics.parquet")
    return place


def _rows(
    place: int, rate: float, seed: int, epochs: int, end: int | None, *, has_probes: bool
) -> Iterator[Row]:
    for epoch in range(epochs + 1):
        step = 50 * epoch
        if end is not None and step > end:
            return
        left = math.exp(-(0.15 + 0.25 * place) * epoch * (1 + rate))
        wave = 0.05 * math.sin(1.7 * epoch + seed) * (0.2 + left)
        loss = math.nan if step == end else 0.1 + 2.2 * left + wave
        yield step, epoch, "train loss", None, None, loss, "nat"
        yield step, epoch, "test loss", None, None, loss * 1.1, "nat"
        yield step, epoch, "train accuracy", None, None, 0.98 - 0.88 * left, "share"
        yield step, epoch, "test accuracy", None, None, 0.96 - 0.86 * left + wave / 9, "share"
        if has_probes:
            yield from _probe_rows(step, epoch, place, left, wave)
    if end is None and has_probes:
        step = 50 * epochs
        for x in range(-4, 5):
            for y in range(-4, 5):
                height = 0.1 + (x * x + (1 + place) * y * y) / 20 + 0.02 * seed
                yield step, epochs, "loss surface", None, f"{x / 4:g},{y / 4:g}", height, "nat"


def _probe_rows(step: int, epoch: int, place: int, left: float, wave: float) -> Iterator[Row]:
    for depth, layer in enumerate(LAYERS):
        for key, offset in (("15", -1.0), ("50", 0.0), ("85", 1.0)):
            value = offset * (1 + depth / 3) + (2 - 1.8 * place) * (1 - left) + wave
            yield step, epoch, "activation percentile", layer, key, value, ""
        yield (
            step,
            epoch,
            "gradient norm",
            layer,
            None,
            (1 + place) * 0.3**depth * (0.05 + left),
            "",
        )
        for key in ("mean", "std", "wasserstein"):
            yield step, epoch, "distribution shift", layer, key, abs(wave) + 0.1 * depth, ""
        cosine = math.nan if epoch == 3 else 0.9 - 0.2 * depth * left
        yield step, epoch, "gradient cosine", layer, None, cosine, ""
    for key in ("0.5", "1", "2", "4"):
        yield (
            step,
            epoch,
            "loss along gradient",
            None,
            key,
            left * 2 + float(key) * (0.3 - 0.2 * place),
            "nat",
        )
    yield step, epoch, "effective smoothness", None, None, 3 - 2 * place + left, ""
    for key, factor in (("3,4,1,0", 0.2), ("3,8,1,0", -0.4)):
        yield step, epoch, "weight", "features.3", key, factor * (1 - left) + wave / 5, ""
