"""Every recorded value beside the trial it belongs to: what all figures are drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from bnkit.lab.report.trial_groups import arm_names, grid_key, grid_points
from bnkit.lab.store.schema import TrialRecord


@dataclass(frozen=True)
class Gaps:
    """How many values are not finite, of a metric, before the trials diverged."""

    nan: int
    infinite: int

    @property
    def text(self) -> str:
        """The gaps in a sentence; empty if there are none."""
        count = self.nan + self.infinite
        if not count:
            return ""
        kinds = [f"{self.nan} NaN"] * bool(self.nan) + [f"{self.infinite} infinite"] * bool(
            self.infinite
        )
        verb = "value is" if count == 1 else "values are"
        return f"{count:,} {verb} not finite ({', '.join(kinds)}) and left out: gaps."


@dataclass(frozen=True)
class Recorded:
    """A study's values, ready to be grouped.

    Attributes:
        arms: names, in the study file's order; figures refer to them by place.
        grids: the different grid points.
        trials: all of them.
        points: one row per recorded value up to where its trial diverged: metric, unit, layer, key,
            step, value (null if it is not finite), trial, arm, grid, seed, steps_per_epoch.
        lost: the rows from where a trial diverged on.
        gaps: metric → how many values are not finite.
    """

    arms: list[str]
    grids: list[Mapping[str, Any]]
    trials: Sequence[TrialRecord]
    points: pl.DataFrame
    lost: pl.DataFrame
    gaps: Mapping[str, Gaps]


def recorded(
    settings: Mapping[str, Any], trials: Sequence[TrialRecord], metrics: pl.DataFrame
) -> Recorded:
    """Return every value of a study with arm, grid point and seed.

    A trial counts up to the step at which it was found to have diverged, and not from there on.
    """
    described = _described(trials)
    pace = _steps_per_epoch(described, metrics)
    named = metrics.join(described.join(pace, on=["arm", "grid"]), on="trial")
    if described["diverged_step"].null_count() == described.height:
        kept, lost = named, named.clear()
    else:
        before = pl.col("diverged_step").is_null() | (pl.col("step") < pl.col("diverged_step"))
        kept, lost = named.filter(before), named.filter(~before)
    return Recorded(
        arms=arm_names(settings, trials),
        grids=grid_points(trials),
        trials=trials,
        points=_finite(kept),
        lost=_finite(lost),
        gaps=_gaps(kept),
    )


def _described(trials: Sequence[TrialRecord]) -> pl.DataFrame:
    return pl.DataFrame(
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


def _finite(named: pl.DataFrame) -> pl.DataFrame:
    value = pl.when(pl.col("value").is_finite()).then("value")
    return named.with_columns(value=value, unit=pl.col("unit").fill_null(""))


def _gaps(kept: pl.DataFrame) -> dict[str, Gaps]:
    # A value that is absent is as little a number as NaN is.
    value = pl.col("value")
    counted = (
        kept.filter(~value.is_finite() | value.is_null())
        .group_by("metric")
        .agg(infinite=value.is_infinite().sum(), count=pl.len())
    )
    return {
        row["metric"]: Gaps(row["count"] - row["infinite"], row["infinite"])
        for row in counted.iter_rows(named=True)
    }


def _steps_per_epoch(described: pl.DataFrame, metrics: pl.DataFrame) -> pl.DataFrame:
    """Return the steps per epoch of each arm at each grid point.

    A checkpoint's epoch is step / steps per epoch, rounded up, so no checkpoint has a larger
    quotient step / epoch than the steps per epoch, and one at the end of an epoch has just that.
    A store of another program may round down: it has steps in epoch 0, and the smallest quotient.
    Where no trial reached a checkpoint, those of other arms stand in.
    """
    trained = pl.when(pl.col("epoch") > 0).then(pl.col("step") / pl.col("epoch"))
    rounds_down = ((pl.col("epoch") == 0) & (pl.col("step") > 0)).any()
    of_trials = metrics.group_by("trial").agg(
        steps_per_epoch=pl.when(rounds_down).then(trained.min()).otherwise(trained.max())
    )
    named = described.join(of_trials, on="trial")
    found = named.group_by("arm", "grid").agg(pl.col("steps_per_epoch").max())
    typical = pl.lit(found["steps_per_epoch"].median(), dtype=pl.Float64)
    return found.with_columns(pl.col("steps_per_epoch").fill_null(typical).fill_null(1.0))
