"""Figures of a few rows, written down by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl
import pytest

from bnkit.lab.report.figures import StudyFigures, figures_of
from bnkit.lab.store import TrialRecord
from bnkit.lab.store.trial_store import METRIC_SCHEMA

Place = tuple[str | None, str | None]


def trial(arm: str = "batch", seed: int = 0, **changes: Any) -> TrialRecord:
    """Return a trial whose id is its arm and seed."""
    values: dict[str, Any] = {"grid": {}, "spec": {}, "classes": 10}
    return TrialRecord(id=f"{arm}-{seed}", arm=arm, seed=seed, **{**values, **changes})


def rows(
    metric: str,
    place: Place,
    values: Sequence[float],
    owner: TrialRecord | None = None,
    unit: str = "",
) -> list[tuple[Any, ...]]:
    """Return one value per step 0, 10, 20 …, ten steps per epoch."""
    owner = owner or trial()
    return [
        (owner.id, 10 * step, step, metric, *place, float(value), unit)
        for step, value in enumerate(values)
    ]


def draw(content: Sequence[tuple[Any, ...]], trials: Sequence[TrialRecord] = ()) -> StudyFigures:
    """Return the figures of rows and the trials they belong to."""
    frame = pl.DataFrame(list(content), schema={"trial": pl.String, **METRIC_SCHEMA}, orient="row")
    return figures_of({}, list(trials) or [trial()], frame)


@pytest.fixture(name="trial")
def _trial() -> Callable[..., TrialRecord]:
    return trial


@pytest.fixture(name="rows")
def _rows() -> Callable[..., list[tuple[Any, ...]]]:
    return rows


@pytest.fixture(name="draw")
def _draw() -> Callable[..., StudyFigures]:
    return draw
