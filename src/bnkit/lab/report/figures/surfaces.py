"""Heights over a plane, such as the loss around a solution."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

import polars as pl

from bnkit.lab.report.figures.data import Axes, Figure, Panel, Selection, Surface, Values, View
from bnkit.lab.report.figures.lines import WHOLE_NETWORK, axis_title
from bnkit.lab.report.figures.scale import scale_of_values
from bnkit.lab.report.figures.source import MetricSource
from bnkit.lab.report.trial_groups import grid_key, grid_label
from bnkit.page.number_format import number

FEWEST_PLACES = 3
MOST_SEEDS = 12
EARLIER = "Only the last step at which it was recorded is drawn, of each trial."


def surface_figure(source: MetricSource) -> Figure | None:
    """Return contours and surface of a metric whose keys are "x,y".

    One view per layer and seed, one panel per arm and grid point, at the last recorded step.

    Returns:
        None if the keys are not pairs of numbers over at least 3 × 3 places.
    """
    places = {key: place_of(key) for key in source.points["key"].unique().to_list()}
    found = [place for place in places.values() if place is not None]
    if len(found) < len(places) or any(
        len({place[axis] for place in found}) < FEWEST_PLACES for axis in (0, 1)
    ):
        return None
    last = source.points.filter(pl.col("step") == pl.col("step").max().over("trial"))
    layers = last["layer"].unique(maintain_order=True).to_list()
    seeds = sorted(last["seed"].unique().to_list())[:MOST_SEEDS]
    selections = []
    if len(layers) > 1:
        names = [WHOLE_NETWORK if layer is None else layer for layer in layers]
        selections.append(Selection("layer", names))
    if len(seeds) > 1:
        selections.append(Selection("seed", [str(seed) for seed in seeds]))
    views = []
    for place, layer in enumerate(layers):
        is_layer = pl.col("layer").eq_missing(pl.lit(layer, dtype=pl.String))
        for number_, seed in enumerate(seeds):
            own = last.filter(is_layer, pl.col("seed") == seed)
            choice = ((place,) if len(layers) > 1 else ()) + ((number_,) if len(seeds) > 1 else ())
            panels = list(_panels(source, own, places))
            heights = (v for p in panels if p.surface for row in p.surface.z for v in row)
            axes = Axes(
                "first direction", "second direction", axis_title(source.metric, source.unit)
            )
            if panels:
                views.append(View(choice, panels, axes, scale_of_values(heights)))
    if not views:
        return None
    is_earlier = source.points.height > last.height
    return source.figure(
        can_be_log=source.is_positive and source.unit != "share",
        selections=selections,
        views=views,
        notes=[note for note in (source.gaps_text, EARLIER if is_earlier else "") if note],
        modes=("flat", "3-D"),
    )


def place_of(key: str | None) -> tuple[float, float] | None:
    """Return the numbers of a key such as "0.5,−1"; None if it is not two numbers."""
    parts = (key or "").replace("\N{MINUS SIGN}", "-").strip("()[] ").split(",")
    if len(parts) != 2:
        return None
    try:
        x, y = float(parts[0]), float(parts[1])
    except ValueError:
        return None
    return (x, y) if isfinite(x) and isfinite(y) else None


def _panels(
    source: MetricSource,
    frame: pl.DataFrame,
    places: dict[str, tuple[float, float] | None],
) -> Iterator[Panel]:
    study = source.study
    for grid in study.grids:
        for index, arm in enumerate(study.arms):
            own = frame.filter(pl.col("grid") == grid_key(grid), pl.col("arm") == arm)
            values = {
                place: value
                for key, value in own.select("key", "value").iter_rows()
                if (place := places[key]) is not None
            }
            if all(value is None for value in values.values()):
                continue
            surface = _surface(index, values)
            title = ", ".join(part for part in (arm, grid_label(grid)) if part)
            label = _label(source.metric, title, values, int(own["step"][0]))
            yield Panel("surface", title, label, surface=surface)


def _surface(arm: int, values: dict[tuple[float, float], float | None]) -> Surface:
    across = sorted({x for x, _ in values})
    down = sorted({y for _, y in values})
    rows: list[Values] = [[values.get((x, y)) for x in across] for y in down]
    return Surface(arm, across, down, rows)


def _label(
    metric: str, title: str, values: dict[tuple[float, float], float | None], step: int
) -> str:
    present = {place: value for place, value in values.items() if value is not None}
    lowest = min(present, key=lambda place: present[place])
    highest = max(present, key=lambda place: present[place])
    return (
        f"{metric} over two directions, {title}, step {step}: "
        f"lowest {number(present[lowest]).text} at ({lowest[0]:g}, {lowest[1]:g}), "
        f"highest {number(present[highest]).text} at ({highest[0]:g}, {highest[1]:g})."
    )
