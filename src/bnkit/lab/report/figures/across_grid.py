"""A metric at the end of training against a number of the grid: learning rate, batch size …"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from bnkit.lab.report.figures.data import Axes, Figure, Line, Mark, Panel, Selection, View
from bnkit.lab.report.figures.lines import axis_title, number_axis
from bnkit.lab.report.figures.scale import scale_of_lines
from bnkit.lab.report.figures.source import file_name
from bnkit.lab.report.figures.words import DIVERGED_COUNT_AS, band_texts, diverged_text
from bnkit.lab.report.points import Recorded
from bnkit.lab.report.students_t import half_width_factor
from bnkit.lab.report.trial_groups import grid_key, grid_label, ordered_metrics, setting_text
from bnkit.lab.store.schema import Summary
from bnkit.page.number_format import number

# An interval over two seeds is twelve standard deviations wide, and may be cut off.
WHOLE_FROM_SEEDS = 3


def grid_figures(
    summaries: Sequence[Summary], arms: Sequence[str], counted: str = DIVERGED_COUNT_AS
) -> list[Figure]:
    """Return one figure per grid key and metric, the other keys chosen by the reader.

    Args:
        summaries: of all arms and grid points.
        arms: their names; lines refer to them by place.
        counted: as what diverged trials count.
    """
    keys = list(dict.fromkeys(key for summary in summaries for key in summary.grid))
    figures = []
    for key in keys:
        values = list(
            {json.dumps(s.grid.get(key), default=str): s.grid.get(key) for s in summaries}.values()
        )
        if len(values) < 2:
            continue
        for metric in ordered_metrics(summary.metric for summary in summaries):
            own = [
                summary for summary in summaries if summary.metric == metric and key in summary.grid
            ]
            if own:
                name = short_name(key, keys)
                figures.append(_figure(own, key, values, arms, name, counted))
    return figures


def end_summaries(study: Recorded, metrics: Sequence[str]) -> list[Summary]:
    """Return mean and 95 % interval over seeds of what each trial recorded last.

    Args:
        study: whose trials count; what diverged counts with nothing, for nothing stands for it.
        metrics: of the whole network.
    """
    grids = {grid_key(grid): grid for grid in study.grids}
    last = (
        study.points.filter(
            pl.col("metric").is_in(list(metrics)),
            pl.col("layer").is_null(),
            pl.col("key").is_null(),
            pl.col("diverged_step").is_null(),
            pl.col("value").is_not_null(),
        )
        .group_by("metric", "unit", "arm", "grid", "trial")
        .agg(pl.col("value").get(pl.col("step").arg_max()))
        .group_by("metric", "unit", "arm", "grid")
        .agg(mean=pl.col("value").mean(), std=pl.col("value").std(), seeds=pl.len())
        .sort("metric", "arm", "grid")
    )
    return [_summary(row, grids[row["grid"]]) for row in last.iter_rows(named=True)]


def _summary(row: Mapping[str, Any], grid: Mapping[str, Any]) -> Summary:
    seeds = row["seeds"]
    half = None if seeds < 2 else row["std"] * half_width_factor(seeds)
    return Summary(
        arm=row["arm"],
        metric=row["metric"],
        mean=row["mean"],
        low=None if half is None else row["mean"] - half,
        high=None if half is None else row["mean"] + half,
        seeds=seeds,
        diverged=0,
        grid=grid,
        unit=row["unit"],
    )


def short_name(key: str, keys: Sequence[str]) -> str:
    """Return the last part of a dotted key where that is unambiguous."""
    last = [each.rsplit(".", 1)[-1] for each in keys]
    own = key.rsplit(".", 1)[-1]
    return own if last.count(own) == 1 else key


def _figure(
    summaries: Sequence[Summary],
    key: str,
    values: Sequence[Any],
    arms: Sequence[str],
    name: str,
    counted: str,
) -> Figure:
    rest = list(
        {grid_key(_without(s.grid, key)): _without(s.grid, key) for s in summaries}.values()
    )
    selections = [Selection("at", [grid_label(point) for point in rest])] if len(rest) > 1 else []
    views = []
    for place, point in enumerate(rest):
        own = [s for s in summaries if _without(s.grid, key) == point]
        views.append(_view(own, key, values, arms, name, (place,) if selections else ()))
    first = summaries[0]
    diverged = sum(summary.diverged for summary in summaries)
    is_cut = any(view.scale is not None and view.scale.is_cut for view in views)
    notes = [
        f"{diverged_text(diverged)} ✖ marks where; they count as {counted}." if diverged else "",
        "What lies beyond the scale is cut off at the figure's edge." if is_cut else "",
    ]
    return Figure(
        id=f"grid-{file_name(name)}-{file_name(first.metric)}",
        metric=first.metric,
        title=f"{first.metric[:1].upper()}{first.metric[1:]} against {name}",
        about="",
        can_be_log="accuracy" not in first.metric
        and first.unit != "share"
        and all(view.scale is not None and view.scale.powers is not None for view in views),
        selections=selections,
        views=views,
        notes=[note for note in notes if note],
    )


def _without(grid: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in grid.items() if name != key}


def _view(
    summaries: Sequence[Summary],
    key: str,
    values: Sequence[Any],
    arms: Sequence[str],
    name: str,
    choice: tuple[int, ...],
) -> View:
    is_number = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    lines = []
    for place, arm in enumerate(arms):
        own = [summary for summary in summaries if summary.arm == arm]
        if own:
            lines.append(_line(own, key, place, is_number=is_number))
    first = summaries[0]
    bands = band_texts([n for line in lines for n in line.seeds if n])
    return View(
        choice=choice,
        panels=[
            Panel(
                kind="lines",
                title="",
                label=_label(lines, arms, first.metric, name),
                lines=lines,
                bands=dict.fromkeys(bands, bands["interval"]),
            )
        ],
        axes=Axes(
            x=name,
            y=f"{axis_title(first.metric, first.unit)} at the end",
            x_kind=number_axis([float(v) for v in values]) if is_number else "category",
        ),
        scale=scale_of_lines(lines, [frozenset()] * len(lines), _widest_half(summaries)),
    )


def _widest_half(summaries: Iterable[Summary]) -> float:
    """Return half the widest interval of those to be seen whole: all trained, over enough seeds."""
    halves = [
        max(s.mean - s.low, s.high - s.mean)
        for s in summaries
        if s.low is not None and s.high is not None
        if s.seeds >= WHOLE_FROM_SEEDS and not s.diverged
    ]
    return max(halves, default=0.0)


def _line(summaries: Sequence[Summary], key: str, arm: int, *, is_number: bool) -> Line:
    ordered = sorted(summaries, key=lambda s: s.grid[key]) if is_number else list(summaries)
    marks = [
        Mark(
            x=_place(summary.grid[key], is_number=is_number),
            y=summary.mean,
            text=f"{summary.diverged} of {max(summary.seeds, summary.diverged)} trials diverged",
        )
        for summary in ordered
        if summary.diverged
    ]
    places: Any = [_place(summary.grid[key], is_number=is_number) for summary in ordered]
    mean: list[float | None] = [summary.mean for summary in ordered]
    return Line(
        arm=arm,
        x=places,
        pace=None,
        mean=mean,
        low=[summary.low for summary in ordered],
        high=[summary.high for summary in ordered],
        least=mean,
        most=mean,
        seeds=[summary.seeds for summary in ordered],
        marks=marks,
    )


def _place(value: Any, *, is_number: bool) -> float | str:
    return float(value) if is_number else setting_text(value)


def _label(lines: Iterable[Line], arms: Sequence[str], metric: str, name: str) -> str:
    parts = []
    for line in lines:
        best = [f"{number(value).text} at {x}" for x, value in zip(line.x, line.mean, strict=True)]
        lost = (
            f", trials diverged at {', '.join(str(m.x) for m in line.marks)}" if line.marks else ""
        )
        parts.append(f"{arms[line.arm]}: {', '.join(best)}{lost}")
    return f"{metric} at the end of training against {name}. {'; '.join(parts)}."
