"""Trials and metrics written down by hand, for the tests of claims."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import pytest
from scipy.stats import binom

from bnkit.lab.store.schema import MetricRow, TrialRecord, Verdict
from bnkit.lab.store.trial_store import METRIC_SCHEMA
from bnkit.lab.study.claim_settings import ClaimSettings
from bnkit.lab.study.claims import judge

STEPS_PER_EPOCH = 10
T_975 = 0.95 / math.sqrt(2 * 0.975 * 0.025)  # the 97.5 % point of Student's t with 2 df: 4.3027
ERROR = 1 / math.sqrt(3)  # standard error of three values whose standard deviation is 1
TREND = {"along": "training.optimizer.lr", "scale": "log"}


def claim(kind: str, metric: str = "test accuracy", **keys: Any) -> ClaimSettings:
    """Return a claim of arm "with" against arm "without"."""
    content = {"id": kind, "text": "a claim", "better": "with", "than": "without", **keys}
    return ClaimSettings(kind=kind, metric=metric, **content)


class Trials:
    """Trials, one value per epoch and metric."""

    def __init__(self) -> None:
        self.records: list[TrialRecord] = []
        self.rows: list[tuple[Any, ...]] = []

    def add(
        self,
        arm: str,
        seed: int,
        values: Sequence[float],
        metric: str = "test accuracy",
        *,
        untrained: float | None = None,
        diverged_step: int | None = None,
        grid: Mapping[str, Any] | None = None,
        steps_per_epoch: int = STEPS_PER_EPOCH,
        classes: int = 10,
        spec: Mapping[str, Any] | None = None,
    ) -> str:
        """Add a trial with one value at the end of each epoch; return its id."""
        record = TrialRecord(
            id=f"trial-{len(self.records)}",
            arm=arm,
            seed=seed,
            grid=grid or {},
            spec=spec or {},
            classes=classes,
            status="complete" if diverged_step is None else "diverged",
            diverged_step=diverged_step,
        )
        self.records.append(record)
        if untrained is not None:
            self.row(record.id, MetricRow(0, 0, metric, untrained, "share"))
        for epoch, value in enumerate(values, start=1):
            self.row(record.id, MetricRow(epoch * steps_per_epoch, epoch, metric, value, "share"))
        return record.id

    def row(self, trial: str, row: MetricRow) -> None:
        self.rows.append((trial, *(getattr(row, name) for name in METRIC_SCHEMA)))

    @property
    def metrics(self) -> pl.DataFrame:
        schema = {"trial": pl.String, **METRIC_SCHEMA}
        return pl.DataFrame(self.rows, schema=schema, orient="row")

    def judge(self, *claims: ClaimSettings) -> list[Verdict]:
        return judge(claims, self.records, self.metrics)

    def verdict(self, kind: str, metric: str = "test accuracy", **keys: Any) -> Verdict:
        """Return the verdict of a study with one claim."""
        return self.judge(claim(kind, metric, **keys))[0]


def last_values(
    better: Sequence[float], than: Sequence[float], metric: str = "test accuracy"
) -> Trials:
    """Return trials of one epoch, seeds 0, 1, …, with these values of arms with and without."""
    trials = Trials()
    for arm, values in (("with", better), ("without", than)):
        for seed, value in enumerate(values):
            trials.add(arm, seed, [value], metric)
    return trials


def grid_trials(slopes_with: list[float], slopes_without: list[float]) -> Trials:
    """Arms whose metric is 5 + seed + slope · log₁₀ of the learning rate, for two batch sizes."""
    trials = Trials()
    for arm, slopes in (("with", slopes_with), ("without", slopes_without)):
        for seed, slope in enumerate(slopes):
            for decade in (-3, -2, 0):
                for batch, steeper in ((16, -0.25), (32, 0.25)):
                    grid = {"training.optimizer.lr": 10.0**decade, "data.batch_size": batch}
                    # in both arms, so that their difference is the same at both batch sizes
                    trials.add(arm, seed, [5 + seed + (slope + steeper) * decade], grid=grid)
    return trials


def p_of(t: float) -> float:
    """Two-sided p of Student's t with 2 degrees of freedom, in closed form."""
    return 1 - abs(t) / math.sqrt(t * t + 2)


def check(verdict: Verdict, outcome: str, effect: float, half_width: float, p: float) -> None:
    """Compare a verdict with hand-worked numbers."""
    assert verdict.outcome == outcome, verdict.reason
    assert verdict.effect == pytest.approx(effect, rel=1e-9)
    assert verdict.low == pytest.approx(effect - half_width, rel=1e-9)
    assert verdict.high == pytest.approx(effect + half_width, rel=1e-9)
    assert verdict.p == pytest.approx(p, rel=1e-9)


def most_allowed(studies: int) -> int:
    """Return the number of false studies that a rate of 5 % exceeds once in a thousand times."""
    return int(binom.ppf(0.999, studies, 0.05))
