"""The way of two weights and the loss, in three dimensions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import polars as pl

from bnkit.lab.report.figures.data import Axes, Figure, Panel, Path, Selection, View
from bnkit.lab.report.figures.scale import scale_of_values
from bnkit.lab.report.figures.source import MetricSource
from bnkit.lab.report.thinning import MOST_POINTS, largest, thin, thinned_text
from bnkit.lab.report.trial_groups import grid_key, grid_label
from bnkit.page.number_format import number

HEIGHTS = ("trajectory loss", "train loss", "test loss")
MOST_PAIRS = 6
MOST_SEEDS = 12
BANDS = ("interval", "range", "trials")
Place = tuple[str | None, str | None]


class _Pair(NamedTuple):
    """Two numbers that a path is drawn over, and what they are called."""

    first: Place
    second: Place
    text: str

    @property
    def names(self) -> tuple[str, str]:
        """What the axes are called: the layer is left out where it is the same."""
        (layer, first), (other, second) = self.first, self.second
        if layer == other and first is not None and second is not None:
            return f"[{first}]", f"[{second}]"
        return _name(self.first), _name(self.second)


def path_figure(source: MetricSource) -> Figure | None:
    """Return the path of pairs of weights, with the loss as height.

    One view per pair and seed; one panel per arm and grid point.

    Returns:
        None if there are fewer than two weights, or no loss at the steps they were recorded.
    """
    places = source.points.select("layer", "key").unique(maintain_order=True).rows()
    if len(places) < 2:
        return None
    pairs = [
        _Pair(first, second, f"{_name(first)} and {_name(second)}")
        for first, second in pairwise(places)
    ][:MOST_PAIRS]
    heights = _heights(source)
    if heights is None:
        return None
    height, losses = heights
    seeds = sorted(source.points["seed"].unique().to_list())[:MOST_SEEDS]
    selections = []
    if len(pairs) > 1:
        selections.append(Selection("weights", [pair.text for pair in pairs]))
    if len(seeds) > 1:
        selections.append(Selection("seed", [str(seed) for seed in seeds]))
    views, longest, shown = [], 0, 0
    for number_, pair in enumerate(pairs):
        frame = _joined(source.points, losses, pair)
        if not frame.height:
            continue
        longest = max(longest, largest(frame, "recorded"))
        for place, seed in enumerate(seeds):
            choice = ((number_,) if len(pairs) > 1 else ()) + ((place,) if len(seeds) > 1 else ())
            panels = list(_panels(source, frame.filter(pl.col("seed") == seed), pair, height))
            shown = max([shown, *(len(panel.path.steps) for panel in panels if panel.path)])
            axes = Axes(x=pair.names[0], y=pair.names[1], z=height)
            scale = scale_of_values(v for panel in panels if panel.path for v in panel.path.z)
            if panels:
                views.append(View(choice, panels, axes, scale))
    if not views:
        return None
    return source.figure(
        can_be_log=False,
        selections=selections,
        views=views,
        notes=[n for n in (source.gaps_text, thinned_text(shown, longest)) if n],
        modes=("3-D", "flat"),
    )


def _name(place: Place) -> str:
    layer, key = place
    return " ".join(part for part in (layer, f"[{key}]" if key is not None else "") if part)


def _heights(source: MetricSource) -> tuple[str, pl.DataFrame] | None:
    """Return the first loss that was recorded where the weights were."""
    steps = source.points.select("trial", "step").unique()
    for name in HEIGHTS:
        rows = source.study.points.filter(
            pl.col("metric") == name, pl.col("layer").is_null(), pl.col("key").is_null()
        ).select("trial", "step", height="value")
        if rows.join(steps, on=["trial", "step"], how="semi").height:
            return name, rows
    return None


def _joined(points: pl.DataFrame, losses: pl.DataFrame, pair: _Pair) -> pl.DataFrame:
    def of(place: Place, name: str) -> pl.DataFrame:
        layer, key = place
        return points.filter(
            pl.col("layer").eq_missing(pl.lit(layer, dtype=pl.String)),
            pl.col("key").eq_missing(pl.lit(key, dtype=pl.String)),
        ).select("trial", "arm", "grid", "seed", "step", pl.col("value").alias(name))

    second = of(pair.second, "y").select("trial", "step", "y")
    joined = of(pair.first, "x").join(second, on=["trial", "step"])
    joined = joined.join(losses, on=["trial", "step"]).rename({"height": "z"})
    return thin(
        joined, ["trial", "arm", "grid", "seed"], limit=MOST_POINTS, lows=["z"], highs=["z"]
    )


def _panels(source: MetricSource, frame: pl.DataFrame, pair: _Pair, height: str) -> Iterable[Panel]:
    study = source.study
    for grid in study.grids:
        for place, arm in enumerate(study.arms):
            own = frame.filter(pl.col("grid") == grid_key(grid), pl.col("arm") == arm)
            if not own["z"].count():
                continue
            path = Path(
                arm=place,
                steps=own["step"].to_list(),
                x=own["x"].to_list(),
                y=own["y"].to_list(),
                z=own["z"].to_list(),
            )
            title = ", ".join(part for part in (arm, grid_label(grid)) if part)
            text = dict.fromkeys(BANDS, f"{pair.text}, height: {height}")
            yield Panel("path", title, _label(path, pair, height, title), path=path, bands=text)


def _label(path: Path, pair: _Pair, height: str, title: str) -> str:
    def ends(values: Sequence[float | None]) -> str:
        present = [value for value in values if value is not None]
        return f"{number(present[0]).text} to {number(present[-1]).text}" if present else "n/a"

    return (
        f"Path of {pair.text} with the {height} as height, {title}: {height} from {ends(path.z)} "
        f"while the weights go from {ends(path.x)} and {ends(path.y)}, "
        f"steps {path.steps[0]} to {path.steps[-1]}."
    )
