"""What a figure of one metric is made from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from bnkit.lab.report.figures.data import Figure, LastValues, Selection, View
from bnkit.lab.report.points import Recorded


@dataclass(frozen=True)
class MetricSource:
    """A metric's recorded values, and how much room its figure has.

    Attributes:
        points, lost: rows of the study's, of this metric.
        room: about how many numbers the figure may hold.
        about: how to read the figure; may be empty.
    """

    study: Recorded
    metric: str
    points: pl.DataFrame
    lost: pl.DataFrame
    room: int
    about: str = ""

    @property
    def unit(self) -> str:
        """Unit of the values."""
        frame = self.points if self.points.height else self.lost
        return str(frame["unit"][0]) if frame.height else ""

    @property
    def gaps_text(self) -> str:
        """How many values are not finite, in a sentence."""
        gaps = self.study.gaps.get(self.metric)
        return gaps.text if gaps else ""

    @property
    def is_positive(self) -> bool:
        """Whether no value is below zero, and one is above."""
        values = self.points["value"]
        return bool((values.min() or 0) >= 0 and (values.max() or 0) > 0)  # type: ignore[operator]

    def figure(
        self,
        *,
        can_be_log: bool,
        selections: Sequence[Selection],
        views: Sequence[View],
        notes: Sequence[str],
        table: LastValues | None = None,
        modes: tuple[str, ...] = (),
    ) -> Figure:
        """Return the metric's figure."""
        return Figure(
            id=file_name(self.metric),
            metric=self.metric,
            title=self.metric[:1].upper() + self.metric[1:],
            about=self.about,
            can_be_log=can_be_log,
            selections=list(selections),
            views=list(views),
            notes=list(notes),
            table=table,
            modes=modes,
        )


def file_name(text: str) -> str:
    """Return a text as lower-case words joined by hyphens, for ids and files; never empty."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "figure"
