"""Curves over seeds: a metric of one arm at one grid point, per layer and key, along the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from bnkit.lab.report.points import Recorded
from bnkit.lab.report.students_t import half_width_factor
from bnkit.lab.report.thinning import largest, points_per_series, thin
from bnkit.lab.report.trial_groups import grid_key
from bnkit.lab.store.schema import TrialRecord

Values = list[float | None]
# Numbers per step of a curve, besides one per trial.
COLUMNS = 6


@dataclass(frozen=True)
class Divergence:
    """Where a trial diverged, and the last finite value it had recorded before."""

    seed: int
    step: int
    last_value: float


@dataclass(frozen=True)
class Curve:
    """One series, over the seeds that had not diverged by each step.

    Attributes:
        steps: at which it is drawn; a step without a finite value has None in all columns.
        low, high: 95 % Student t interval of the mean, None for fewer than two seeds.
        least, most: smallest and largest value.
        seeds: how many values there are at each step.
        trials: seed → its values at these steps.
        recorded: at how many steps there are values.
    """

    metric: str
    unit: str
    arm: str
    grid: Mapping[str, Any]
    layer: str | None
    key: str | None
    steps_per_epoch: float
    steps: list[int]
    mean: Values
    low: Values
    high: Values
    least: Values
    most: Values
    seeds: list[int]
    trials: dict[int, Values]
    recorded: int
    divergences: list[Divergence] = field(default_factory=list)


def curves_of(
    study: Recorded, points: pl.DataFrame, room: int, lost: pl.DataFrame | None = None
) -> list[Curve]:
    """Return the curves of one metric: by layer and key as they come, grid points, arms.

    Args:
        study: whose arms and grid points there are.
        points: rows of its `points`, all of one metric.
        room: about how many numbers all curves may hold together.
        lost: likewise of what was recorded from where a trial diverged on: the mark of a trial
            that has no value before stands there.
    """
    names = ["layer", "key", "grid", "arm"]
    known = points if lost is None else pl.concat([points, lost])
    at_steps = _over_seeds(points, names, room)
    trial_values = points.select(*names, "step", "seed", "value")
    groups = at_steps.partition_by(names, as_dict=True, maintain_order=True)
    singles = _by_trial(trial_values, at_steps, names)
    ended = [trial.id for trial in study.trials if trial.diverged_step is not None]
    ends = _last_values([lost, points], ended)
    order = {
        (grid_key(grid), arm): place
        for place, (grid, arm) in enumerate(
            (grid, arm) for grid in study.grids for arm in study.arms
        )
    }
    grids = {grid_key(grid): grid for grid in study.grids}
    places = dict.fromkeys((layer, key) for layer, key, _, _ in _in_order(known, names))
    found = []
    for layer, key in places:
        for grid, arm in order:
            frame = groups.get((layer, key, grid, arm))
            members = [t for t in study.trials if t.arm == arm and grid_key(t.grid) == grid]
            marks = _divergences(members, ends, layer, key)
            if frame is None and not marks:
                continue
            found.append(
                _curve(
                    known,
                    (arm, grids[grid], layer, key),
                    at_steps.clear() if frame is None else frame,
                    singles.get((layer, key, grid, arm), {}),
                    marks,
                )
            )
    return found


def _in_order(points: pl.DataFrame, names: list[str]) -> list[tuple[Any, ...]]:
    return points.select(names).unique(maintain_order=True).rows()


def _over_seeds(points: pl.DataFrame, names: list[str], room: int) -> pl.DataFrame:
    value = pl.col("value")
    seeds = value.count()
    over = points.group_by(*names, "step").agg(
        steps_per_epoch=pl.col("steps_per_epoch").first(),
        mean=value.mean(),
        half=pl.when(seeds > 1).then(value.std()),
        least=value.min(),
        most=value.max(),
        seeds=seeds,
    )
    factors = {n: half_width_factor(n) for n in over["seeds"].unique().to_list() if n > 1}
    factor = pl.col("seeds").replace_strict(factors, default=None, return_dtype=pl.Float64)
    over = over.with_columns(half=pl.col("half") * factor).with_columns(
        low=pl.col("mean") - pl.col("half"), high=pl.col("mean") + pl.col("half")
    )
    limit = points_per_series(over, names, room, COLUMNS + largest(over, "seeds"))
    return thin(over, names, limit=limit, lows=("mean", "least"), highs=("mean", "most"))


def _by_trial(
    values: pl.DataFrame, at_steps: pl.DataFrame, names: list[str]
) -> dict[tuple[Any, ...], dict[int, Values]]:
    """Return group → seed → its values at the steps that the group is drawn at."""
    kept = at_steps.select(*names, "step").join(
        values, on=[*names, "step"], how="left", nulls_equal=True
    )
    found = {}
    for key, frame in kept.partition_by(names, as_dict=True).items():
        table = frame.pivot("seed", index="step", values="value", aggregate_function="mean").sort(
            "step"
        )
        found[key] = {
            seed: table[str(seed)].to_list()
            for seed in sorted(int(name) for name in table.columns if name not in ("step", "null"))
            if table[str(seed)].count()
        }
    return found


def _last_values(
    frames: Sequence[pl.DataFrame | None], trials: list[str]
) -> dict[tuple[str, str | None, str | None], float]:
    """Return (trial, layer, key) → the last finite value in the last frame that has one."""
    ends: dict[tuple[str, str | None, str | None], float] = {}
    for frame in frames:
        if frame is None or not trials:
            continue
        last = (
            frame.filter(pl.col("trial").is_in(trials), pl.col("value").is_not_null())
            .sort("step")
            .group_by("trial", "layer", "key")
            .agg(pl.col("value").last())
        )
        ends |= {(trial, layer, key): value for trial, layer, key, value in last.iter_rows()}
    return ends


def _divergences(
    trials: Sequence[TrialRecord],
    ends: Mapping[tuple[str, str | None, str | None], float],
    layer: str | None,
    key: str | None,
) -> list[Divergence]:
    return [
        Divergence(trial.seed, trial.diverged_step, ends[trial.id, layer, key])
        for trial in trials
        if trial.diverged_step is not None and (trial.id, layer, key) in ends
    ]


def _curve(
    known: pl.DataFrame,
    place: tuple[str, Mapping[str, Any], str | None, str | None],
    frame: pl.DataFrame,
    trials: dict[int, Values],
    divergences: list[Divergence],
) -> Curve:
    arm, grid, layer, key = place
    paces = frame["steps_per_epoch"] if frame.height else known["steps_per_epoch"]
    columns = {name: frame[name].to_list() for name in ("mean", "low", "high", "least", "most")}
    return Curve(
        metric=known["metric"][0],
        unit=known["unit"][0],
        arm=arm,
        grid=grid,
        layer=layer,
        key=key,
        steps_per_epoch=paces[0],
        steps=frame["step"].to_list(),
        seeds=frame["seeds"].to_list(),
        trials=trials,
        recorded=frame["recorded"][0] if frame.height else 0,
        divergences=divergences,
        **columns,
    )
