"""Which metric is drawn how: the one place that knows metrics by their names.

A metric that is not named here is drawn by what was recorded (`generic`); so is one whose values
do not have the form that its own figure needs. Everything that has a layer or a key is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from bnkit.lab.report.figures.data import Figure, View
from bnkit.lab.report.figures.generic import generic_figure
from bnkit.lab.report.figures.paths import path_figure
from bnkit.lab.report.figures.source import MetricSource
from bnkit.lab.report.figures.spans import landscape_figure, percentile_figure
from bnkit.lab.report.figures.surfaces import surface_figure

Build = Callable[[MetricSource], Figure | None]


class MetricFigure(NamedTuple):
    """How a metric is drawn, and what a reader should know of it.

    Attributes:
        build: returns None where the values do not have the form it needs.
        about: in a sentence.
    """

    build: Build
    about: str


ALONG_GRADIENT = (
    "at points along the gradient of one step, from half to four times the learning rate"
)
REGISTRY: Mapping[str, MetricFigure] = {
    "activation percentile": MetricFigure(
        percentile_figure,
        "Where a layer's outputs lie on held-out data: steady bands mean that what the next layer "
        "gets keeps its distribution.",
    ),
    "activation unsteadiness": MetricFigure(
        generic_figure,
        "How far the percentiles move between measurements, as a share of their distance; "
        "smaller is steadier.",
    ),
    "loss along gradient": MetricFigure(
        landscape_figure, f"The loss {ALONG_GRADIENT}: a narrow band is a smooth landscape."
    ),
    "loss variation": MetricFigure(
        generic_figure, f"Largest less smallest loss {ALONG_GRADIENT}; smaller is smoother."
    ),
    "gradient predictiveness": MetricFigure(
        landscape_figure,
        f"How far the gradient moves {ALONG_GRADIENT}; smaller is more predictive.",
    ),
    "relative gradient predictiveness": MetricFigure(
        landscape_figure,
        f"How far the gradient moves {ALONG_GRADIENT}, over its length; smaller is more "
        "predictive.",
    ),
    "gradient predictiveness cosine": MetricFigure(
        landscape_figure,
        f"Cosine between the gradient and those {ALONG_GRADIENT}; 1 means the same direction.",
    ),
    "effective smoothness": MetricFigure(
        generic_figure,
        "The largest change of the gradient over the distance moved; smaller is smoother.",
    ),
    "gradient shift": MetricFigure(
        generic_figure,
        "How far a layer's gradient moves when only the layers before it take their step.",
    ),
    "gradient cosine": MetricFigure(
        generic_figure,
        "Cosine between a layer's gradients before and after the layers before it took their "
        "step; 1 means no shift.",
    ),
    "distribution shift": MetricFigure(
        generic_figure,
        "How far the distribution of a layer's input moves in one step, in its own standard "
        "deviations.",
    ),
    "weight": MetricFigure(
        path_figure, "The way that two weights take during training, with the loss as height."
    ),
    "loss surface": MetricFigure(
        surface_figure,
        "The loss around the solution, along two random directions scaled to the filters.",
    ),
    "gradient norm": MetricFigure(
        generic_figure, "The length of the loss's gradient of each layer's weight."
    ),
    "saturation": MetricFigure(
        generic_figure, "The share of outputs at which the activation's derivative almost vanishes."
    ),
    "dead units": MetricFigure(
        generic_figure, "The share of units that put out zero for every example."
    ),
}


def figure_of(source: MetricSource) -> Figure | None:
    """Return the figure of a metric; None if nothing finite was recorded of it."""
    own = REGISTRY.get(source.metric)
    builds = [own.build] if own else []
    if source.points["key"].null_count() == 0 and source.points.height:
        builds.append(surface_figure)
    for build in [*builds, generic_figure]:
        figure = build(source)
        if figure is not None:
            return _opened(figure)
    return None


def _opened(figure: Figure) -> Figure:
    """Return a figure whose first view has something to see.

    The first layer's gradient has no layer before it, so its shift is 0 throughout.
    """
    views = figure.views
    telling = next((view for view in views if _varies(view)), views[0])
    return replace(figure, views=[telling, *(view for view in views if view is not telling)])


def _varies(view: View) -> bool:
    lines = [line for panel in view.panels for line in panel.lines or []]
    # What is no line, such as a band or a surface, is seen as it is.
    return not lines or len({value for line in lines for value in line.mean} - {None}) > 1


def about(metric: str) -> str:
    """Return how to read a metric's figure; empty for one that is not known by its name."""
    return REGISTRY[metric].about if metric in REGISTRY else ""
