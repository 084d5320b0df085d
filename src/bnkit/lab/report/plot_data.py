"""Figures as the page's scripts read them: JSON-able, numbers as short as they are read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bnkit.lab.report.figures.data import Figure, Line, Panel, Span, Surface, View

# A pixel is a four-hundredth of a figure, and texts show four digits.
DIGITS = 5


def plot_data(figures: Iterable[Figure]) -> dict[str, Any]:
    """Return id → what the scripts draw."""
    return {
        figure.id: {
            "can_be_log": figure.can_be_log,
            "modes": list(figure.modes),
            "views": [_view(view) for view in figure.views],
        }
        for figure in figures
    }


def _view(view: View) -> dict[str, Any]:
    axes, scale = view.axes, view.scale
    return {
        "choice": list(view.choice),
        "axes": {"x": axes.x, "y": axes.y, "z": axes.z, "x_kind": axes.x_kind},
        "linear": None if scale is None else _short(scale.linear),
        "powers": None if scale is None or scale.powers is None else _short(scale.powers),
        "panels": [_panel(panel) for panel in view.panels],
    }


def _panel(panel: Panel) -> dict[str, Any]:
    content: dict[str, Any] = {
        "kind": panel.kind,
        "title": panel.title,
        "label": panel.label,
        "bands": panel.bands,
    }
    if panel.kind == "lines":
        content["lines"] = [_line(line) for line in panel.lines]
    if panel.kind == "spans":
        content["spans"] = [_span(span) for span in panel.spans]
    if panel.path is not None:
        path = panel.path
        content["path"] = {"arm": path.arm, "steps": path.steps}
        content["path"] |= {name: _short(getattr(path, name)) for name in ("x", "y", "z")}
    if panel.surface is not None:
        content["surface"] = _surface(panel.surface)
    return content


def _line(line: Line) -> dict[str, Any]:
    has_interval = any(value is not None for value in line.low)
    has_range = line.least != line.mean or line.most != line.mean
    return {
        "arm": line.arm,
        "x": list(line.x),
        "pace": line.pace,
        "mean": _short(line.mean),
        "low": _short(line.low) if has_interval else None,
        "high": _short(line.high) if has_interval else None,
        "least": _short(line.least) if has_range else None,
        "most": _short(line.most) if has_range else None,
        "seeds": line.seeds[0] if len(set(line.seeds)) == 1 else line.seeds,
        # One trial is the mean.
        "trials": [
            {"seed": seed, "values": _short(values) if has_range else None}
            for seed, values in line.trials.items()
        ],
        "marks": [{"x": mark.x, "y": mark.y, "text": mark.text} for mark in line.marks],
    }


def _span(span: Span) -> dict[str, Any]:
    return {
        "arm": span.arm,
        "x": list(span.x),
        "pace": span.pace,
        "bands": [
            {"name": band.name, "low": _short(band.low), "high": _short(band.high)}
            for band in span.bands
        ],
        "middle": None if span.middle is None else _short(span.middle),
        "middle_name": span.middle_name,
    }


def _surface(surface: Surface) -> dict[str, Any]:
    return {
        "arm": surface.arm,
        "x": _short(surface.x),
        "y": _short(surface.y),
        "z": [_short(row) for row in surface.z],
    }


def _short(values: Sequence[float | None]) -> list[float | None]:
    return [None if value is None else float(f"{value:.{DIGITS}g}") for value in values]
