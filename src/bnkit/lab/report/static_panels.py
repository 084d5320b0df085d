"""One panel drawn with matplotlib: the counterpart of `templates/plots.js`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bnkit.lab.report.figures.data import Line, Panel, Span, View
from bnkit.page.palette import ARM_COLOURS, appearance

DASHES: dict[str, Any] = {
    "solid": "solid",
    "dash": (0, (5, 2)),
    "dot": (0, (1, 1.5)),
    "dashdot": (0, (5, 2, 1, 2)),
    "longdash": (0, (9, 3)),
    "longdashdot": (0, (9, 3, 2, 3)),
}
MARKERS = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "triangle-up": "^",
    "cross": "P",
    "triangle-down": "v",
    "star": "*",
}
COLOURS = "cividis"
MOST_MARKERS = 12
LEVELS = 14


def draw_flat(axes: Any, panel: Panel, view: View) -> None:
    """Draw a panel in two dimensions.

    Args:
        axes: matplotlib's.
        panel: what is drawn.
        view: whose axes and scale hold.
    """
    for line in panel.lines:
        _line(axes, line, view.scale.linear if view.scale is not None else (-math.inf, math.inf))
    for span in panel.spans:
        _span(axes, span)
    if panel.path is not None:
        _path(axes, panel, view)
    if panel.surface is not None:
        _contours(axes, panel, view)
    is_time = view.axes.x_kind == "time" and (panel.lines or panel.spans)
    axes.set_xlabel("epoch" if is_time else _plain(view.axes.x))
    axes.set_ylabel(_plain(view.axes.y))
    if panel.lines or panel.spans:
        if view.axes.x_kind == "log":
            axes.set_xscale("log")
        if view.scale is not None:
            axes.set_ylim(*view.scale.linear)


def draw_in_3d(axes: Any, panel: Panel, view: View) -> None:
    """Draw a path or a surface in three dimensions; the arguments are those of `draw_flat`."""
    if panel.path is not None:
        path = panel.path
        columns = [_numbers(values) for values in (path.x, path.y, path.z)]
        axes.plot(*columns, color=_colour(path.arm), marker="o", markersize=2.5)
    if panel.surface is not None:
        import numpy as np

        surface = panel.surface
        x, y = np.meshgrid(surface.x, surface.y)
        z = np.array([_numbers(row) for row in surface.z])
        axes.plot_surface(x, y, z, cmap=COLOURS)
    axes.set_xlabel(_plain(view.axes.x))
    axes.set_ylabel(_plain(view.axes.y))
    axes.set_zlabel(_plain(view.axes.z))


def _line(axes: Any, line: Line, limits: tuple[float, float]) -> None:
    look = appearance(line.arm)
    colour = _colour(line.arm)
    xs: list[Any] = list(line.x) if line.pace is None else _epochs(line.x, line.pace)
    mean = _numbers(line.mean)
    low, high = _numbers(line.low), _numbers(line.high)
    if line.pace is not None:
        axes.fill_between(xs, low, high, color=colour, alpha=0.2, linewidth=0)
    else:
        half = [[_or_zero(m - b) for m, b in zip(mean, low, strict=True)]]
        half.append([_or_zero(b - m) for m, b in zip(mean, high, strict=True)])
        axes.errorbar(xs, mean, yerr=half, color=colour, fmt="none", capsize=3)
    axes.plot(
        xs,
        mean,
        color=colour,
        linestyle=DASHES[look.dash],
        marker=MARKERS[look.marker],
        markersize=4,
        markevery=max(1, len(xs) // MOST_MARKERS) if line.pace is not None else 1,
    )
    for mark in line.marks:
        x = mark.x if line.pace is None else float(mark.x) / line.pace
        axes.plot(
            [x],
            [min(max(mark.y, limits[0]), limits[1])],
            marker="X",
            markersize=9,
            color=colour,
            clip_on=False,
        )


def _span(axes: Any, span: Span) -> None:
    look = appearance(span.arm)
    colour = _colour(span.arm)
    xs = _epochs(span.x, span.pace or 1.0)
    for band in span.bands:
        low, high = _numbers(band.low), _numbers(band.high)
        axes.fill_between(xs, low, high, color=colour, alpha=0.22, linewidth=0)
        if span.middle is None:
            for edge in (low, high):
                axes.plot(xs, edge, color=colour, linestyle=DASHES[look.dash], linewidth=1)
    if span.middle is not None:
        axes.plot(
            xs,
            _numbers(span.middle),
            color=colour,
            linestyle=DASHES[look.dash],
            marker=MARKERS[look.marker],
            markersize=4,
            markevery=max(1, len(xs) // MOST_MARKERS),
        )


def _path(axes: Any, panel: Panel, view: View) -> None:
    path = panel.path
    assert path is not None
    xs, ys = _numbers(path.x), _numbers(path.y)
    axes.plot(xs, ys, color=_colour(path.arm), linewidth=1)
    points = axes.scatter(xs, ys, c=_numbers(path.z), cmap=COLOURS, s=14, zorder=3)
    axes.annotate("start", (xs[0], ys[0]), fontsize=7)
    axes.annotate("end", (xs[-1], ys[-1]), fontsize=7)
    axes.figure.colorbar(points, ax=axes, label=_plain(view.axes.z))


def _contours(axes: Any, panel: Panel, view: View) -> None:
    import numpy as np

    surface = panel.surface
    assert surface is not None
    axes.grid(visible=False)
    z = np.ma.masked_invalid([_numbers(row) for row in surface.z])
    limits = view.scale.linear if view.scale is not None else (float(z.min()), float(z.max()))
    filled = axes.contourf(surface.x, surface.y, z, np.linspace(*limits, LEVELS), cmap=COLOURS)
    lines = axes.contour(filled, colors="black", linewidths=0.5)
    axes.clabel(lines, fontsize=6)
    axes.figure.colorbar(filled, ax=axes, label=_plain(view.axes.z))


def _colour(arm: int) -> str:
    return ARM_COLOURS["light"][appearance(arm).colour]


def _epochs(steps: Sequence[Any], pace: float) -> list[float]:
    return [float(step) / pace for step in steps]


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]


def _or_zero(value: float) -> float:
    return value if math.isfinite(value) and value > 0 else 0.0


def _plain(text: str) -> str:
    # matplotlib reads what stands between dollar signs as a formula
    return text.replace("$", r"\$")
