"""Rows of the tables: arms, trials, versions and machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from bnkit.lab.report.trial_groups import grid_key, grid_label, ordered_metrics, setting_text
from bnkit.lab.store.schema import Summary, TrialRecord
from bnkit.page.number_format import Estimate, Number, duration, estimate, number


@dataclass(frozen=True)
class ArmRow:
    """The end of training of one arm at one grid point; None where a metric has no summary."""

    arm: str
    grid: str
    seeds: int
    diverged: int
    metrics: list[Estimate | None]


@dataclass(frozen=True)
class ArmTable:
    """All arms; `metrics` are the column headings."""

    metrics: list[str]
    rows: list[ArmRow]


@dataclass(frozen=True)
class TrialRow:
    """One trial: the last recorded value of each metric."""

    id: str
    arm: str
    grid: str
    seed: int
    status: str
    is_diverged: bool
    metrics: list[Number]
    seconds: Number


@dataclass(frozen=True)
class TrialTable:
    """All trials; `metrics` are the column headings."""

    metrics: list[str]
    rows: list[TrialRow]
    seconds: Number


def arm_table(summaries: Sequence[Summary]) -> ArmTable:
    """Return one row per arm and grid point, in the order of the summaries."""
    metrics = ordered_metrics(summary.metric for summary in summaries)
    groups: dict[tuple[str, str], dict[str, Summary]] = {}
    for summary in summaries:
        groups.setdefault((summary.arm, grid_key(summary.grid)), {})[summary.metric] = summary
    rows = []
    for (arm, _), of_metric in groups.items():
        members = list(of_metric.values())
        estimates = [of_metric.get(metric) for metric in metrics]
        rows.append(
            ArmRow(
                arm=arm,
                grid=grid_label(members[0].grid),
                seeds=max(member.seeds for member in members),
                diverged=max(member.diverged for member in members),
                metrics=[
                    None if found is None else estimate(found.mean, found.low, found.high)
                    for found in estimates
                ],
            )
        )
    return ArmTable(metrics, rows)


def trial_table(trials: Sequence[TrialRecord], metrics: pl.DataFrame) -> TrialTable:
    """Return one row per trial, in the order given."""
    ends = (
        metrics.filter(pl.col("layer").is_null(), pl.col("key").is_null())
        .group_by("trial", "metric")
        .agg(pl.col("value").get(pl.col("step").arg_max()))
    )
    values = {(trial, metric): value for trial, metric, value in ends.iter_rows()}
    names = ordered_metrics(ends["metric"])
    rows = [
        TrialRow(
            id=trial.id,
            arm=trial.arm,
            grid=grid_label(trial.grid),
            seed=trial.seed,
            status=_status(trial),
            is_diverged=trial.status == "diverged",
            metrics=[number(values.get((trial.id, name))) for name in names],
            seconds=duration(trial.seconds) if trial.seconds else number(None),
        )
        for trial in trials
    ]
    return TrialTable(names, rows, duration(sum(trial.seconds for trial in trials)))


def environment(
    trials: Sequence[TrialRecord], attribute: str
) -> list[tuple[str, list[tuple[str, int]]]]:
    """Return name → values with the number of trials that had each, for versions or machine."""
    tables: list[Mapping[str, Any]] = [getattr(trial, attribute) for trial in trials]
    names = sorted({name for table in tables for name in table})
    return [
        (
            name,
            Counter(
                _environment_text(table[name]) for table in tables if name in table
            ).most_common(),
        )
        for name in names
    ]


def _environment_text(value: Any) -> str:
    return "none" if value is None else setting_text(value)


def _status(trial: TrialRecord) -> str:
    if trial.status == "diverged" and trial.diverged_step is not None:
        return f"diverged at step {trial.diverged_step}"
    return trial.status
