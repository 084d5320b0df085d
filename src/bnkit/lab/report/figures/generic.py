"""Any metric, by what was recorded: against time, or against layers and keys at one step."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from bnkit.lab.report.curves import COLUMNS, Curve, curves_of
from bnkit.lab.report.figures.data import Figure, LastValues, Selection, View
from bnkit.lab.report.figures.lines import (
    AT_THE_END,
    choice_of,
    end_view,
    key_of,
    layer_of,
    line_views,
    selections_of,
)
from bnkit.lab.report.figures.source import MetricSource
from bnkit.lab.report.figures.words import diverged_text, left_out_text, shown_options
from bnkit.lab.report.thinning import FEWEST_POINTS, thinned_text
from bnkit.lab.report.trial_groups import grid_label
from bnkit.page.number_format import number

MOST_LAYERS = 24
MOST_KEYS = 12
FEWEST_OPTIONS = 3
MOST_TABLE_ROWS = 200
CUT = "What lies beyond the scale is cut off at the figure's edge."


def generic_figure(source: MetricSource) -> Figure | None:
    """Return the figure of a metric that has no figure of its own; None without any number.

    One step: values against numeric keys, else layers, else keys. Several steps: lines against
    time, chosen by layer and key, and all layers at the last step.
    """
    is_single = source.points["step"].n_unique() <= 1
    points, lost, notes = (source.points, source.lost, []) if is_single else _that_fits(source)
    curves = curves_of(source.study, points, source.room, lost)
    if not any(value is not None for curve in curves for value in curve.mean) and not any(
        curve.divergences for curve in curves
    ):
        return None
    build = _single_step if is_single and _has_places(curves) else _over_time
    selections, views = build(curves, source.study.arms)
    drawn = max(curves, key=lambda curve: curve.recorded)
    notes = [
        diverged_text(max(_diverged_in(view) for view in views)),
        source.gaps_text,
        thinned_text(len(drawn.steps), drawn.recorded),
        *notes,
        CUT if any(view.scale is not None and view.scale.is_cut for view in views) else "",
    ]
    return source.figure(
        can_be_log=source.unit != "share"
        and all(view.scale is None or view.scale.powers is not None for view in views)
        and source.is_positive,
        selections=selections,
        views=views,
        notes=[note for note in notes if note],
        table=last_values(curves) if selections or is_single else None,
    )


def _that_fits(source: MetricSource) -> tuple[pl.DataFrame, pl.DataFrame, list[str]]:
    """Return the rows of as many layers and keys as the figure has room for, and what is left out.

    Of many, those that stay are evenly spaced, the first and the last among them.
    """
    points, lost, notes = source.points, source.lost, []
    known = pl.concat([points.select("layer", "key"), lost.select("layer", "key")]).unique(
        maintain_order=True
    )
    groups = max(1, len(source.study.arms) * len(source.study.grids))
    numbers = FEWEST_POINTS * (COLUMNS + max(1, points["seed"].n_unique()))
    series = source.room // (groups * numbers)
    keys = min(MOST_KEYS, max(FEWEST_OPTIONS, series), known["key"].n_unique())
    layers = min(MOST_LAYERS, max(FEWEST_OPTIONS, series // keys))
    for name, most in (("layer", layers), ("key", keys)):
        options = known[name].unique(maintain_order=True).to_list()
        shown = shown_options(options, most)
        notes.append(left_out_text(name, len(shown), len(options)))
        if len(shown) < len(options):
            wanted = pl.col(name).is_in([each for each in shown if each is not None])
            keep = wanted | pl.col(name).is_null() if None in shown else wanted
            points, lost = points.filter(keep), lost.filter(keep)
    return points, lost, notes


def last_values(curves: Sequence[Curve]) -> LastValues:
    """Return the table of what each series ends at: a row per layer, key and grid point."""
    arms = list(dict.fromkeys(curve.arm for curve in curves))
    columns = [
        ("Layer", [layer_of(curve) for curve in curves]),
        ("Key", [key_of(curve) for curve in curves]),
        ("Grid point", [grid_label(curve.grid) for curve in curves]),
    ]
    shown = [(name, texts) for name, texts in columns if len(set(texts)) > 1]
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for place, curve in enumerate(curves):
        last = [value for value in curve.mean if value is not None][-1:]
        key = tuple(texts[place] for _, texts in shown)
        rows.setdefault(key, {})[curve.arm] = number(last[0] if last else None).text
    listed = [[*key, *(cells.get(arm, "n/a") for arm in arms)] for key, cells in rows.items()]
    headings = [*(name for name, _ in shown), *arms]
    if not shown:
        headings, listed = ["", *headings], [["all", *row] for row in listed]
    return LastValues(
        headings, listed[:MOST_TABLE_ROWS], left_out=max(0, len(listed) - MOST_TABLE_ROWS)
    )


def _over_time(curves: Sequence[Curve], arms: Sequence[str]) -> tuple[list[Selection], list[View]]:
    selections = selections_of(curves)
    views = line_views(curves, arms, selections)
    if not selections or selections[0].name != "layer":
        return selections, views
    place = len(selections[0].options)
    by_key: dict[tuple[int, ...], list[Curve]] = {}
    for curve in curves:
        by_key.setdefault(choice_of(curve, selections)[1:], []).append(curve)
    for rest, members in by_key.items():
        views.append(end_view(members, arms, (place, *rest), axis="layer", part=layer_of))
    selections[0] = Selection("layer", [*selections[0].options, AT_THE_END])
    return selections, views


def _single_step(
    curves: Sequence[Curve], arms: Sequence[str]
) -> tuple[list[Selection], list[View]]:
    """Return the views of what was recorded once: along the keys or layers, whichever are more."""
    layers = list(dict.fromkeys(layer_of(curve) for curve in curves))
    keys = list(dict.fromkeys(key_of(curve) for curve in curves))
    along, other = (key_of, layer_of) if len(keys) > len(layers) else (layer_of, key_of)
    options = layers if other is layer_of else keys
    selections = []
    if len(options) > 1:
        selections = [Selection("layer" if other is layer_of else "key", options)]
    views = []
    for place, option in enumerate(options):
        members = [curve for curve in curves if other(curve) == option]
        choice = (place,) if selections else ()
        axis = "key" if along is key_of else "layer"
        views.append(end_view(members, arms, choice, axis=axis, part=along))
    return selections, views


def _has_places(curves: Sequence[Curve]) -> bool:
    return any(curve.layer is not None or curve.key is not None for curve in curves)


def _diverged_in(view: View) -> int:
    return sum(len(line.marks) for panel in view.panels for line in panel.lines)
