"""Bands of keys over time: percentiles of activations, the loss along a gradient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import polars as pl

from bnkit.lab.report.figures.data import (
    Axes,
    Band,
    Figure,
    Panel,
    Selection,
    Span,
    Values,
    View,
)
from bnkit.lab.report.figures.lines import WHOLE_NETWORK, as_numbers, axis_title
from bnkit.lab.report.figures.scale import scale_of_values
from bnkit.lab.report.figures.source import MetricSource
from bnkit.lab.report.figures.words import left_out_text, shown_options
from bnkit.lab.report.thinning import largest, points_per_series, thin, thinned_text
from bnkit.lab.report.trial_groups import grid_key, grid_label, seeds_text
from bnkit.page.number_format import number

MOST_LAYERS = 24
PLACE = ["layer", "grid", "arm"]
# Metric → the metric that it is a percentage of, where that was recorded as well.
CENTRES = {"loss along gradient": "loss at step"}


def percentile_figure(source: MetricSource) -> Figure | None:
    """Return bands between pairs of percentiles, and the middle one as a line.

    Each is a mean over seeds. One view per layer, one panel per arm and grid point.

    Returns:
        None if the keys are not at least two numbers.
    """
    keys = _numeric_keys(source.points)
    if keys is None:
        return None
    source, layers, note = _with_fewer_layers(source)
    names = sorted(keys, key=lambda key: keys[key])
    mean = source.points.group_by(*PLACE, "key", "step").agg(
        pl.col("value").mean(), pl.col("steps_per_epoch").first()
    )
    wide = mean.pivot("key", index=[*PLACE, "step", "steps_per_epoch"], values="value")
    for name in names:
        if name not in wide.columns:
            wide = wide.with_columns(pl.lit(None, dtype=pl.Float64).alias(name))
    limit = points_per_series(wide, PLACE, source.room, 1 + len(names))
    wide = thin(wide, PLACE, limit=limit, lows=names[:1], highs=names[-1:])
    pairs = list(zip(names[: len(names) // 2], names[::-1][: len(names) // 2], strict=True))
    middle = names[len(names) // 2] if len(names) % 2 else None

    def span(arm: int, frame: pl.DataFrame) -> Span:
        return Span(
            arm=arm,
            x=frame["step"].to_list(),
            pace=frame["steps_per_epoch"][0],
            bands=[
                Band(f"{low} to {high}", frame[low].to_list(), frame[high].to_list())
                for low, high in pairs
            ],
            middle=None if middle is None else frame[middle].to_list(),
            middle_name=middle or "",
        )

    bands = ", ".join(f"{low} to {high}" for low, high in reversed(pairs))
    line = f"; the line is percentile {middle}" if middle else ""
    return _figure(
        source,
        layers,
        [_Drawn("", wide, span, axis_title(source.metric, source.unit))],
        texts=[f"percentiles {bands}{line}; means over {_seeds(source)}"],
        notes=[note],
        is_panel_per_arm=True,
    )


def landscape_figure(source: MetricSource) -> Figure | None:
    """Return the band from the smallest to the largest value over the keys, also in percent.

    Smallest and largest are of each trial's step; then means over seeds are taken.

    Returns:
        None if the keys are not at least two numbers.
    """
    keys = _numeric_keys(source.points)
    if keys is None:
        return None
    source, layers, note = _with_fewer_layers(source)
    over, share = _spread(source, keys)
    limit = points_per_series(over, PLACE, source.room, 6)
    wide = thin(over, PLACE, limit=limit, lows=["low"], highs=["high"])

    text = f"smallest to largest over {len(keys)} step sizes, means over {_seeds(source)}"
    percent = f"{text}; in percent above or below {share}"
    return _figure(
        source,
        layers,
        [
            _edges(wide, "as recorded", "", axis_title(source.metric, source.unit)),
            _edges(wide, "in percent", "percent ", f"{source.metric} (%)"),
        ],
        texts=[text, percent],
        notes=[note],
        is_panel_per_arm=False,
    )


def _spread(source: MetricSource, keys: Mapping[str, float]) -> tuple[pl.DataFrame, str]:
    """Return smallest and largest over the keys, also in percent, and what the percents are of."""
    value = pl.col("value")
    here = [key for key, size in keys.items() if size == 0]
    own = value.filter(pl.col("key") == here[0]).first() if here else value.mean()
    per_trial = source.points.group_by(*PLACE, "step", "seed", "trial").agg(
        pl.col("steps_per_epoch").first(), low=value.min(), high=value.max(), centre=own
    )
    share = "the value at 0" if here else "the mean over the step sizes"
    before = _centres(source)
    if before is not None:
        share = f"the {CENTRES[source.metric]}"
        per_trial = per_trial.drop("centre").join(before, on=["trial", "step"], how="left")
    whole = pl.when(pl.col("centre") != 0).then(pl.col("centre").abs())
    percents = [
        (100 * (pl.col(edge) - pl.col("centre")) / whole).alias(f"percent {edge}")
        for edge in ("low", "high")
    ]
    over = (
        per_trial.with_columns(percents)
        .group_by(*PLACE, "step")
        .agg(
            pl.col("steps_per_epoch").first(),
            pl.col("low", "high", "percent low", "percent high").mean(),
        )
    )
    return over, share


def _edges(wide: pl.DataFrame, name: str, prefix: str, title: str) -> _Drawn:
    """Return the view that draws the columns `low` and `high` behind a prefix as a band."""

    def span(arm: int, frame: pl.DataFrame) -> Span:
        low, high = frame[f"{prefix}low"].to_list(), frame[f"{prefix}high"].to_list()
        band = Band("smallest to largest", low, high)
        pace = frame["steps_per_epoch"][0]
        return Span(arm, frame["step"].to_list(), pace, [band], None, "")

    return _Drawn(name, wide, span, title)


def _centres(source: MetricSource) -> pl.DataFrame | None:
    """Return the values that percents are taken of, by trial and step, if they were recorded."""
    rows = source.study.points.filter(
        pl.col("metric") == CENTRES.get(source.metric, ""),
        pl.col("layer").is_null(),
        pl.col("key").is_null(),
    )
    steps = source.points.select("trial", "step").unique()
    found = steps.join(rows, on=["trial", "step"]).select("trial", "step", centre="value")
    return found if found.height == steps.height else None


class _Drawn(NamedTuple):
    """One way to show the bands: its name, the rows, how a row group becomes a span, y's title."""

    name: str
    frame: pl.DataFrame
    span: Any
    title: str


def _figure(
    source: MetricSource,
    layers: list[str | None],
    drawn: list[_Drawn],
    *,
    texts: list[str],
    notes: list[str],
    is_panel_per_arm: bool,
) -> Figure | None:
    selections = []
    if len(layers) > 1:
        names = [WHOLE_NETWORK if layer is None else layer for layer in layers]
        selections.append(Selection("layer", names))
    if len(drawn) > 1:
        selections.append(Selection("shown", [each.name for each in drawn]))
    views = []
    for way, each in enumerate(drawn):
        groups = each.frame.partition_by(PLACE, as_dict=True, maintain_order=True)
        for place, layer in enumerate(layers):
            of_layer = {key[1:]: frame for key, frame in groups.items() if key[0] == layer}
            choice = ((place,) if len(layers) > 1 else ()) + ((way,) if len(drawn) > 1 else ())
            view = _view(source, each, of_layer, choice, texts[way], layer, is_panel_per_arm)
            if view.panels:
                views.append(view)
    if not views:
        return None
    longest = max(largest(each.frame, "recorded") for each in drawn)
    shown = max(len(span.x) for view in views for p in view.panels for span in p.spans)
    return source.figure(
        can_be_log=source.is_positive and source.unit != "share",
        selections=selections,
        views=sorted(views, key=lambda view: view.choice),
        notes=[n for n in (source.gaps_text, thinned_text(shown, longest), *notes) if n],
    )


def _view(
    source: MetricSource,
    drawn: _Drawn,
    groups: Mapping[tuple[Any, ...], pl.DataFrame],
    choice: tuple[int, ...],
    text: str,
    layer: str | None,
    is_panel_per_arm: bool,
) -> View:
    study = source.study
    panels = []
    for grid in study.grids:
        spans = [
            drawn.span(place, groups[grid_key(grid), arm])
            for place, arm in enumerate(study.arms)
            if (grid_key(grid), arm) in groups
        ]
        for members in [[span] for span in spans] if is_panel_per_arm else [spans][: len(spans)]:
            arms = ", ".join(study.arms[span.arm] for span in members)
            parts = [arms if is_panel_per_arm and len(study.arms) > 1 else "", grid_label(grid)]
            title = ", ".join(part for part in parts if part)
            panels.append(
                Panel(
                    kind="spans",
                    title=title,
                    label=_label(source, members, title, layer, text),
                    spans=members,
                    bands=dict.fromkeys(("interval", "range", "trials"), text),
                )
            )
    return View(
        choice=choice,
        panels=panels,
        axes=Axes(x="", y=drawn.title),
        scale=scale_of_values(v for panel in panels for v in _values(panel)),
    )


def _label(
    source: MetricSource, spans: list[Span], title: str, layer: str | None, text: str
) -> str:
    ends = []
    for span in spans:
        edges = [(band.low, band.high) for band in span.bands][:1]
        low, high = (_last(edges[0][0]), _last(edges[0][1])) if edges else (None, None)
        arm = source.study.arms[span.arm]
        ends.append(f"{arm} ends between {number(low).text} and {number(high).text}")
    where = f", layer {layer}" if layer is not None else ""
    at = f", {title}" if title else ""
    return f"{source.metric} against training time{where}{at}: {'; '.join(ends)}. Bands: {text}."


def _last(values: Values) -> float | None:
    return next((value for value in reversed(values) if value is not None), None)


def _values(panel: Panel) -> Iterator[float | None]:
    for span in panel.spans:
        yield from span.middle or []
        for band in span.bands:
            yield from band.low
            yield from band.high


def _numeric_keys(points: pl.DataFrame) -> dict[str, float] | None:
    """Return key → number; None unless every row has one and there are at least two."""
    keys = points["key"].unique().to_list()
    if None in keys or len(keys) < 2:
        return None
    return as_numbers(sorted(keys))


def _with_fewer_layers(source: MetricSource) -> tuple[MetricSource, list[str | None], str]:
    layers: list[str | None] = source.points["layer"].unique(maintain_order=True).to_list()
    shown = shown_options(layers, MOST_LAYERS)
    note = left_out_text("layer", len(shown), len(layers))
    if not note:
        return source, layers, ""
    kept = source.points.filter(pl.col("layer").is_in([each for each in shown if each is not None]))
    fewer = MetricSource(source.study, source.metric, kept, source.lost, source.room, source.about)
    return fewer, shown, note


def _seeds(source: MetricSource) -> str:
    counts = source.points.group_by("arm", "grid").agg(pl.col("seed").n_unique())["seed"]
    return seeds_text(counts.to_list())
