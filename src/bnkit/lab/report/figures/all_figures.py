"""Every figure of a study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from bnkit.lab.report.figures.across_grid import end_summaries, grid_figures
from bnkit.lab.report.figures.data import Figure
from bnkit.lab.report.figures.registry import about, figure_of
from bnkit.lab.report.figures.source import MetricSource
from bnkit.lab.report.figures.words import diverged_count_as
from bnkit.lab.report.points import recorded
from bnkit.lab.report.trial_groups import KNOWN_METRICS, ordered_metrics
from bnkit.lab.store.schema import Summary, TrialRecord

# Numbers on one page, about seven characters each: the page stays well under 8 MB.
ROOM = 300_000


@dataclass(frozen=True)
class StudyFigures:
    """A study's figures, in the order of the page.

    Attributes:
        arms: their names; lines refer to them by place.
        curves: losses, accuracies and other numbers of the whole network, against time.
        across: at the end of training, against numbers of the grid.
        probes: what layers and keys tell apart.
        not_drawn: metrics of which nothing finite was recorded.
    """

    arms: list[str]
    curves: list[Figure]
    across: list[Figure]
    probes: list[Figure]
    not_drawn: list[str]

    @property
    def all(self) -> list[Figure]:
        """All of them."""
        return [*self.curves, *self.across, *self.probes]


def figures_of(
    settings: Mapping[str, Any],
    trials: Sequence[TrialRecord],
    metrics: pl.DataFrame,
    summaries: Sequence[Summary] = (),
) -> StudyFigures:
    """Return the figures of a study: every metric that was recorded is in one of them."""
    study = recorded(settings, trials, metrics)
    points = {
        key[0]: frame for key, frame in study.points.partition_by("metric", as_dict=True).items()
    }
    lost = {key[0]: frame for key, frame in study.lost.partition_by("metric", as_dict=True).items()}
    names = ordered_metrics([*points, *lost])
    curves: list[Figure] = []
    probes: list[Figure] = []
    not_drawn = []
    for name in names:
        own = points.get(name, study.points.clear())
        from_then = lost.get(name, study.lost.clear())
        room = ROOM // len(names)
        figure = figure_of(MetricSource(study, name, own, from_then, room, about(name)))
        if figure is None:
            not_drawn.append(name)
            continue
        whole = pl.col("layer").is_null() & pl.col("key").is_null()
        is_whole = not own.filter(~whole).height and not from_then.filter(~whole).height
        (curves if is_whole else probes).append(figure)
    curves.sort(key=lambda figure: figure.metric not in KNOWN_METRICS)
    known = {summary.metric for summary in summaries}
    others = [figure.metric for figure in curves if figure.metric not in known]
    rest = end_summaries(study, others) if len(study.grids) > 1 else []
    across = grid_figures([*summaries, *rest], study.arms, diverged_count_as(trials))
    ids: dict[str, int] = {}
    return StudyFigures(
        study.arms,
        list(_renamed(curves, ids)),
        list(_renamed(across, ids)),
        list(_renamed(probes, ids)),
        not_drawn,
    )


def _renamed(figures: Iterable[Figure], ids: dict[str, int]) -> Iterable[Figure]:
    """Return the figures with ids that no other has."""
    for figure in figures:
        ids[figure.id] = ids.get(figure.id, 0) + 1
        count = ids[figure.id]
        yield figure if count == 1 else replace(figure, id=f"{figure.id}-{count}")
