"""Learning curves: per arm and grid point, a metric against the steps taken, over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from bnkit.lab.report.students_t import half_width_factor
from bnkit.lab.report.trial_groups import arm_names, grid_key, grid_points, ordered_metrics
from bnkit.lab.store.schema import TrialRecord


@dataclass(frozen=True)
class Checkpoint:
    """A metric over the seeds that had not diverged by this step.

    Attributes:
        low, high: 95 % Student t interval of the mean, None for fewer than two seeds.
        least, most: smallest and largest value.
    """

    step: int
    epoch: float
    mean: float
    low: float | None
    high: float | None
    least: float
    most: float
    seeds: int


@dataclass(frozen=True)
class TrialCurve:
    """The recorded values of one trial, up to where it diverged."""

    seed: int
    steps: list[int]
    epochs: list[float]
    values: list[float]


@dataclass(frozen=True)
class Divergence:
    """Where a trial diverged, and the last finite value it had recorded before."""

    seed: int
    step: int
    epoch: float
    last_value: float


@dataclass(frozen=True)
class Curve:
    """One metric of one arm at one grid point."""

    metric: str
    unit: str
    arm: str
    grid: Mapping[str, Any]
    checkpoints: list[Checkpoint]
    trials: list[TrialCurve]
    divergences: list[Divergence]


def learning_curves(
    settings: Mapping[str, Any], trials: Sequence[TrialRecord], metrics: pl.DataFrame
) -> list[Curve]:
    """Return every curve of a study: metrics in reading order, then grid points, then arms.

    A trial counts up to the step at which it was found to have diverged, and not from there on;
    values that are not finite are left out. Metrics of layers and keys have no curve.
    """
    points = _points(trials, metrics)
    groups = points.partition_by("metric", "grid", "arm", as_dict=True)
    found = []
    for metric in ordered_metrics(points["metric"].unique()):
        for grid in grid_points(trials):
            for arm in arm_names(settings, trials):
                group = groups.get((metric, grid_key(grid), arm))
                if group is not None:
                    members = [trial for trial in trials if trial.arm == arm and trial.grid == grid]
                    found.append(_curve(metric, arm, grid, group, members))
    return found


def _points(trials: Sequence[TrialRecord], metrics: pl.DataFrame) -> pl.DataFrame:
    """Return the finite values with arm, grid and seed, and the epoch as a fraction."""
    described = pl.DataFrame(
        {
            "trial": [trial.id for trial in trials],
            "arm": [trial.arm for trial in trials],
            "grid": [grid_key(trial.grid) for trial in trials],
            "seed": [trial.seed for trial in trials],
            "diverged_step": [trial.diverged_step for trial in trials],
        },
        schema={
            "trial": pl.String,
            "arm": pl.String,
            "grid": pl.String,
            "seed": pl.Int64,
            "diverged_step": pl.Int64,
        },
    )
    whole = metrics.filter(pl.col("layer").is_null(), pl.col("key").is_null())
    named = whole.join(described, on="trial")
    return (
        named.join(_steps_per_epoch(named), on=["arm", "grid"])
        .filter(pl.col("value").is_finite())
        .with_columns(
            before=pl.col("diverged_step").is_null() | (pl.col("step") < pl.col("diverged_step")),
            epochs=pl.col("step") / pl.col("steps_per_epoch"),
        )
        .sort("seed", "step")
    )


def _steps_per_epoch(named: pl.DataFrame) -> pl.DataFrame:
    """Return the steps per epoch of each arm at each grid point.

    A checkpoint's epoch is step / steps per epoch, rounded up, so no checkpoint has a larger
    quotient step / epoch than the steps per epoch, and one at the end of an epoch has just that.
    Where no trial reached a checkpoint, those of other arms stand in.
    """
    trained = pl.when(pl.col("epoch") > 0).then(pl.col("step") / pl.col("epoch"))
    found = named.group_by("arm", "grid").agg(steps_per_epoch=trained.max())
    typical = pl.lit(found["steps_per_epoch"].median(), dtype=pl.Float64)
    return found.with_columns(pl.col("steps_per_epoch").fill_null(typical).fill_null(1.0))


def _curve(
    metric: str, arm: str, grid: Mapping[str, Any], points: pl.DataFrame, trials: list[TrialRecord]
) -> Curve:
    kept = points.filter("before")
    return Curve(
        metric=metric,
        unit=points["unit"][0] or "",
        arm=arm,
        grid=grid,
        checkpoints=_checkpoints(kept),
        trials=[
            TrialCurve(
                seed=seed,
                steps=frame["step"].to_list(),
                epochs=frame["epochs"].to_list(),
                values=frame["value"].to_list(),
            )
            for (seed,), frame in kept.partition_by(
                "seed", as_dict=True, maintain_order=True
            ).items()
        ],
        divergences=[
            place for trial in trials if (place := _divergence(trial, points)) is not None
        ],
    )


def _checkpoints(points: pl.DataFrame) -> list[Checkpoint]:
    value = pl.col("value")
    rows = (
        points.group_by("step")
        .agg(
            epoch=pl.col("epochs").first(),
            mean=value.mean(),
            std=value.std(),
            least=value.min(),
            most=value.max(),
            seeds=value.len(),
        )
        .sort("step")
        .iter_rows(named=True)
    )
    found = []
    for row in rows:
        std = row.pop("std")
        half = None if row["seeds"] < 2 else std * half_width_factor(row["seeds"])
        low, high = (None, None) if half is None else (row["mean"] - half, row["mean"] + half)
        found.append(Checkpoint(**row, low=low, high=high))
    return found


def _divergence(trial: TrialRecord, points: pl.DataFrame) -> Divergence | None:
    if trial.diverged_step is None:
        return None
    own = points.filter(pl.col("trial") == trial.id)
    before = own.filter("before")
    recorded = before if before.height else own
    if not recorded.height:
        return None
    return Divergence(
        seed=trial.seed,
        step=trial.diverged_step,
        epoch=trial.diverged_step / recorded["steps_per_epoch"][-1],
        last_value=recorded["value"][-1],
    )
