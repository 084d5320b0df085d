"""Plotly figures as plain dictionaries: one per metric and grid point.

Each trace says in `meta` which arm it belongs to, what it shows (`role`) and the steps behind its
epochs, so that the page can switch axis, band and theme without another copy of the data.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from bnkit.lab.report.curves import Checkpoint, Curve, Divergence
from bnkit.lab.report.trial_groups import grid_key, grid_label, seeds_text
from bnkit.page.number_format import number
from bnkit.page.palette import ARM_COLOURS, Appearance, appearance

# A Student t interval over two seeds is twelve standard deviations wide: what may widen a figure
# may do so by half of what the trials that did not diverge span, on each side.
BAND_ALLOWANCE = 0.5
HEIGHT_PX = 320
HOVER = {
    "interval": "%{y:.4~g} %{customdata[0]}",
    "range": "%{y:.4~g}, %{customdata[1]}",
}


@dataclass(frozen=True)
class Figure:
    """One figure: what Plotly draws, and what is said where it cannot be seen."""

    id: str
    label: str
    plot: dict[str, Any]
    diverged: int
    is_cut: bool


@dataclass(frozen=True)
class MetricFigures:
    """The figures of one metric, one per grid point, on a common scale."""

    metric: str
    figures: list[Figure]

    @property
    def is_loss(self) -> bool:
        """Whether a logarithmic scale is offered."""
        return is_loss(self.metric)


@dataclass(frozen=True)
class _Scale:
    """The part of the y axis shown, linear and as powers of ten; whether the linear one cuts."""

    linear: tuple[float, float]
    powers: tuple[float, float] | None
    is_cut: bool


def is_loss(metric: str) -> bool:
    """Return whether the metric is a loss, by the last word of its name."""
    return metric.split()[-1:] == ["loss"]


def metric_figures(curves: Sequence[Curve], arms: Sequence[str]) -> list[MetricFigures]:
    """Return the figures of every metric, in the order of the curves."""
    looks = {arm: appearance(index) for index, arm in enumerate(arms)}
    found, count = [], 0
    for metric, of_metric in groupby(curves, key=lambda curve: curve.metric):
        members = list(of_metric)
        scale = _scale(members)
        panels = []
        for _, panel in groupby(members, key=lambda curve: grid_key(curve.grid)):
            count += 1
            panels.append(_figure(f"figure-{count}", list(panel), arms, looks, scale))
        found.append(MetricFigures(metric, panels))
    return found


def plotly_text(text: str) -> str:
    """Return `text` so that Plotly shows it as it is: it reads a little HTML in its labels."""
    return html.escape(text, quote=False)


def _figure(
    name: str,
    curves: list[Curve],
    arms: Sequence[str],
    looks: Mapping[str, Appearance],
    scale: _Scale,
) -> Figure:
    first = curves[0]
    panel = grid_label(first.grid)
    bands = _band_texts([point.seeds for curve in curves for point in curve.checkpoints])
    traces = [
        trace
        for curve in curves
        for trace in _traces(curve, arms.index(curve.arm), looks[curve.arm], scale)
    ]
    return Figure(
        id=name,
        label=_label(curves, panel),
        plot={
            "data": traces,
            "layout": _layout(first.metric, first.unit, panel, bands, scale),
        },
        diverged=sum(len(curve.divergences) for curve in curves),
        is_cut=scale.is_cut,
    )


def _band_texts(seeds: Sequence[int]) -> dict[str, str]:
    over = seeds_text(seeds)
    interval = f"mean and 95 % t interval, {over}"
    return {
        "interval": interval if max(seeds, default=0) > 1 else "one seed: no interval",
        "range": f"mean and range, {over}",
        "trials": f"single trials, {over}",
    }


def _traces(curve: Curve, arm: int, look: Appearance, scale: _Scale) -> Iterator[dict[str, Any]]:
    meta = {"arm": arm, "colour": look.colour}
    with_interval = [point for point in curve.checkpoints if point.low is not None]
    if with_interval:
        edges = [(point.low, point.high) for point in with_interval]
        yield _band(with_interval, edges, {**meta, "role": "interval"}, visible=True)
    if curve.checkpoints:
        edges = [(point.least, point.most) for point in curve.checkpoints]
        yield _band(curve.checkpoints, edges, {**meta, "role": "range"}, visible=False)
        yield _single_trials(curve, {**meta, "role": "trials"}, look)
        yield _mean(curve, {**meta, "role": "mean"}, look)
    if curve.divergences:
        yield _divergences(curve, {**meta, "role": "diverged"}, scale)


def _mean(curve: Curve, meta: dict[str, Any], look: Appearance) -> dict[str, Any]:
    points = curve.checkpoints
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": plotly_text(curve.arm),
        "x": [point.epoch for point in points],
        "y": [point.mean for point in points],
        "customdata": [_hover_texts(point) for point in points],
        "hovertemplate": HOVER["interval"],
        "line": {"width": 2, "dash": look.dash, "color": ARM_COLOURS["light"][look.colour]},
        "marker": {"symbol": look.marker, "size": 7, "maxdisplayed": 12},
        "meta": {**meta, "steps": [point.step for point in points], "hover": HOVER},
    }


def _hover_texts(point: Checkpoint) -> tuple[str, str]:
    """Return what follows the mean: with its interval, and with its range."""
    seeds = seeds_text([point.seeds])
    spread = f"range {number(point.least).text} to {number(point.most).text}, {seeds}"
    if point.low is None or point.high is None:
        return seeds, spread
    return f"[{number(point.low).text}, {number(point.high).text}], {seeds}", spread


def _band(
    points: Sequence[Checkpoint],
    edges: Sequence[tuple[float | None, float | None]],
    meta: dict[str, Any],
    *,
    visible: bool,
) -> dict[str, Any]:
    """Return a filled outline: along the lower edge and back along the upper one."""
    epochs = [point.epoch for point in points]
    steps = [point.step for point in points]
    lower, upper = (list(edge) for edge in zip(*edges, strict=True))
    return {
        "type": "scatter",
        "mode": "lines",
        "x": epochs + epochs[::-1],
        "y": lower + upper[::-1],
        "fill": "toself",
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
        "visible": visible,
        "meta": {**meta, "steps": steps + steps[::-1]},
    }


def _single_trials(curve: Curve, meta: dict[str, Any], look: Appearance) -> dict[str, Any]:
    """Return the trials as one line that is interrupted between them."""
    epochs: list[float | None] = []
    steps: list[int | None] = []
    values: list[float | None] = []
    seeds: list[int | None] = []
    for trial in curve.trials:
        epochs += [*trial.epochs, None]
        steps += [*trial.steps, None]
        values += [*trial.values, None]
        seeds += [*[trial.seed] * len(trial.steps), None]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": plotly_text(curve.arm),
        "x": epochs,
        "y": values,
        "customdata": seeds,
        "hovertemplate": "%{y:.4~g} (seed %{customdata})",
        "line": {"width": 1, "dash": look.dash},
        "opacity": 0.7,
        "visible": False,
        "meta": {**meta, "steps": steps},
    }


def _divergences(curve: Curve, meta: dict[str, Any], scale: _Scale) -> dict[str, Any]:
    places = curve.divergences
    return {
        "type": "scatter",
        "mode": "markers",
        "name": plotly_text(curve.arm),
        "x": [place.epoch for place in places],
        "y": [_inside(place.last_value, scale.linear) for place in places],
        "customdata": [_divergence_text(place) for place in places],
        "hovertemplate": "%{customdata}",
        "marker": {"symbol": "x", "size": 11},
        "cliponaxis": False,
        "meta": {**meta, "steps": [place.step for place in places]},
    }


def _divergence_text(place: Divergence) -> str:
    last = number(place.last_value).text
    return f"seed {place.seed} diverged at step {place.step}, last value {last}"


def _inside(value: float, limits: tuple[float, float]) -> float:
    return min(max(value, limits[0]), limits[1])


def _scale(curves: Sequence[Curve]) -> _Scale:
    """Return the axis that shows every trial that did not diverge, whole.

    Bands, and trials on their way to diverging, may widen it by a part of that and are cut off
    beyond, or one exploding loss would flatten all other curves. The logarithmic scale shows all.
    """
    points = [point for curve in curves for point in curve.checkpoints]
    trained = [value for point in points for value in (point.least, point.most)]
    trained += [place.last_value for curve in curves for place in curve.divergences]
    settled = [value for curve in curves for value in _settled_values(curve)] or trained
    bands = [edge for point in points for edge in (point.low, point.high) if edge is not None]
    lowest, highest = min(trained + bands), max(trained + bands)
    allowance = BAND_ALLOWANCE * (max(settled) - min(settled))
    linear = _padded(max(lowest, min(settled) - allowance), min(highest, max(settled) + allowance))
    positive = [value for value in trained if value > 0]
    powers = _padded(math.log10(min(positive)), math.log10(max(positive))) if positive else None
    return _Scale(linear, powers, is_cut=lowest < linear[0] or highest > linear[1])


def _settled_values(curve: Curve) -> Iterator[float]:
    diverged = {place.seed for place in curve.divergences}
    for trial in curve.trials:
        if trial.seed not in diverged:
            yield from trial.values


def _padded(bottom: float, top: float) -> tuple[float, float]:
    padding = 0.05 * (top - bottom) or 0.05 * abs(top) or 0.05
    return bottom - padding, top + padding


def _layout(
    metric: str, unit: str, panel: str, bands: Mapping[str, str], scale: _Scale
) -> dict[str, Any]:
    axis = plotly_text(f"{metric} ({unit})" if unit else metric)
    return {
        "height": HEIGHT_PX,
        "margin": {"l": 56, "r": 12, "t": 56 if panel else 32, "b": 44},
        "showlegend": False,
        "hovermode": "x unified",
        "dragmode": False,
        "title": {
            "text": _title(panel, bands["interval"]),
            "x": 0,
            "xref": "container",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            # the anchor is the first line's middle: the bold panel name needs room above
            "pad": {"t": 20 if panel else 8, "l": 12},
            "font": {"size": 12.5},
        },
        "xaxis": {"title": {"text": "epoch"}, "rangemode": "tozero", "zeroline": False},
        "yaxis": {"title": {"text": axis}, "range": list(scale.linear), "zeroline": False},
        "meta": {
            "titles": {band: _title(panel, text) for band, text in bands.items()},
            "ranges": {"linear": scale.linear, "log": scale.powers},
            "is_loss": is_loss(metric),
        },
    }


def _title(panel: str, band: str) -> str:
    return f"<b>{plotly_text(panel)}</b><br>{band}" if panel else band


def _label(curves: Iterable[Curve], panel: str) -> str:
    """Return what the figure shows, in a sentence, for those who do not see it."""
    ends = []
    metric = ""
    for curve in curves:
        metric = curve.metric
        if curve.checkpoints:
            last = curve.checkpoints[-1]
            ends.append(
                f"{curve.arm} ends at {number(last.mean).text} after {last.step} steps, "
                f"{seeds_text([last.seeds])}"
            )
        if curve.divergences:
            count = len(curve.divergences)
            ends.append(f"{count} trial{'' if count == 1 else 's'} of {curve.arm} diverged")
    place = f" at {panel}" if panel else ""
    return f"{metric} against training time{place}: {'; '.join(ends)}."
