"""A metric against training time: per arm a line with its band, one view per layer and key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from bnkit.lab.report.curves import Curve
from bnkit.lab.report.figures.data import Axes, Line, Mark, Panel, Selection, View, XKind
from bnkit.lab.report.figures.scale import scale_of_lines
from bnkit.lab.report.figures.words import band_texts, panel_label, place_text
from bnkit.lab.report.trial_groups import grid_key, grid_label
from bnkit.page.number_format import number

WHOLE_NETWORK = "whole network"
AT_THE_END = "all, at the last step"
# From this ratio of the largest to the smallest on, numbers lie better on a logarithmic axis.
WIDE = 8


def selections_of(curves: Sequence[Curve]) -> list[Selection]:
    """Return the layers and keys of a metric, where there is more than one."""
    found = []
    for name, part in (("layer", layer_of), ("key", key_of)):
        options = list(dict.fromkeys(part(curve) for curve in curves))
        if len(options) > 1:
            found.append(Selection(name, options))
    return found


def layer_of(curve: Curve) -> str:
    """Return the layer as it is chosen."""
    return WHOLE_NETWORK if curve.layer is None else curve.layer


def key_of(curve: Curve) -> str:
    """Return the key as it is chosen."""
    return "none" if curve.key is None else curve.key


def choice_of(curve: Curve, selections: Sequence[Selection]) -> tuple[int, ...]:
    """Return the place of a curve in the selections."""
    parts = {"layer": layer_of(curve), "key": key_of(curve)}
    return tuple(each.options.index(parts[each.name]) for each in selections)


def line_views(
    curves: Sequence[Curve], arms: Sequence[str], selections: Sequence[Selection]
) -> list[View]:
    """Return one view per layer and key, with a panel per grid point."""
    by_choice: dict[tuple[int, ...], list[Curve]] = {}
    for curve in curves:
        by_choice.setdefault(choice_of(curve, selections), []).append(curve)
    return [_view(choice, members, arms) for choice, members in by_choice.items()]


def _view(choice: tuple[int, ...], curves: list[Curve], arms: Sequence[str]) -> View:
    lines = [line_of(curve, arms) for curve in curves]
    first = curves[0]
    panels = []
    for _, of_grid in groupby(
        zip(curves, lines, strict=True), key=lambda pair: grid_key(pair[0].grid)
    ):
        members = list(of_grid)
        grid = grid_label(members[0][0].grid)
        place = place_text(first.layer, first.key, grid)
        panels.append(
            Panel(
                kind="lines",
                title=grid,
                label=panel_label([curve for curve, _ in members], first.metric, place),
                lines=[line for _, line in members],
                bands=band_texts([n for curve, _ in members for n in curve.seeds if n]),
            )
        )
    diverged = [frozenset(each.seed for each in curve.divergences) for curve in curves]
    return View(
        choice=choice,
        panels=panels,
        axes=Axes(x="", y=axis_title(first.metric, first.unit)),
        scale=scale_of_lines(lines, diverged),
    )


def line_of(curve: Curve, arms: Sequence[str]) -> Line:
    """Return a curve as it is drawn."""
    return Line(
        arm=arms.index(curve.arm),
        x=[*curve.steps],
        pace=curve.steps_per_epoch,
        mean=curve.mean,
        low=curve.low,
        high=curve.high,
        least=curve.least,
        most=curve.most,
        seeds=curve.seeds,
        trials=curve.trials,
        marks=[
            Mark(
                x=place.step,
                y=place.last_value,
                text=f"seed {place.seed} diverged at step {place.step}, "
                f"last value {number(place.last_value).text}",
            )
            for place in curve.divergences
        ],
    )


def axis_title(metric: str, unit: str) -> str:
    """Return "train loss (nat)"."""
    return f"{metric} ({unit})" if unit else metric


def end_view(
    curves: Sequence[Curve],
    arms: Sequence[str],
    choice: tuple[int, ...],
    *,
    axis: str,
    part: Callable[[Curve], str],
) -> View:
    """Return a view of each curve's last values, against layers or keys.

    Numeric keys lie along a number line, others side by side.

    Args:
        curves: which differ in what `part` returns, arm and grid point alone.
        choice: the view's.
        axis: title of x.
        part: what lies along x.
    """
    options = list(dict.fromkeys(part(curve) for curve in curves))
    numbers = as_numbers(options)
    lines, diverged, panels = [], [], []
    ordered = sorted(curves, key=lambda curve: _order(curve, curves))
    for _, of_grid in groupby(ordered, key=lambda curve: grid_key(curve.grid)):
        members = list(of_grid)
        drawn = []
        for arm in dict.fromkeys(curve.arm for curve in members):
            own = sorted(
                (curve for curve in members if curve.arm == arm),
                key=lambda curve: (
                    options.index(part(curve)) if numbers is None else numbers[part(curve)]
                ),
            )
            where: list[float | str] = [
                part(curve) if numbers is None else numbers[part(curve)] for curve in own
            ]
            drawn.append(_end_line(own, arms.index(arm), where))
            diverged.append(frozenset(each.seed for curve in own for each in curve.divergences))
        lines += drawn
        grid = grid_label(members[0].grid)
        panels.append(_end_panel(members, drawn, arms, axis, grid))
    first = curves[0]
    return View(
        choice=choice,
        panels=panels,
        axes=Axes(
            x=axis,
            y=f"{axis_title(first.metric, first.unit)}, last step",
            x_kind="category" if numbers is None else number_axis(numbers.values()),
        ),
        scale=scale_of_lines(lines, diverged),
    )


def as_numbers(options: Sequence[str]) -> dict[str, float] | None:
    """Return each option as a number; None if one is none, or two are the same."""
    try:
        found = {option: float(option) for option in options}
    except ValueError:
        return None
    is_finite = all(abs(value) < float("inf") for value in found.values())
    return found if is_finite and len(set(found.values())) == len(options) > 1 else None


def number_axis(values: Iterable[float]) -> XKind:
    """Return whether numbers along x are spread over powers of ten."""
    present = [*values]
    return "log" if min(present) > 0 and max(present) >= WIDE * min(present) else "number"


def _order(curve: Curve, curves: Sequence[Curve]) -> int:
    keys = list(dict.fromkeys(grid_key(each.grid) for each in curves))
    return keys.index(grid_key(curve.grid))


def _end_line(curves: Sequence[Curve], arm: int, where: list[float | str]) -> Line:
    ends = [_last_place(curve) for curve in curves]

    def at_end(column: str) -> list[float | None]:
        return [
            None if place is None else getattr(curve, column)[place]
            for curve, place in zip(curves, ends, strict=True)
        ]

    seeds = dict.fromkeys(seed for curve in curves for seed in curve.trials)
    return Line(
        arm=arm,
        x=where,
        pace=None,
        mean=at_end("mean"),
        low=at_end("low"),
        high=at_end("high"),
        least=at_end("least"),
        most=at_end("most"),
        seeds=[
            0 if place is None else curve.seeds[place]
            for curve, place in zip(curves, ends, strict=True)
        ],
        trials={
            seed: [
                None if place is None or seed not in curve.trials else curve.trials[seed][place]
                for curve, place in zip(curves, ends, strict=True)
            ]
            for seed in seeds
        },
    )


def _last_place(curve: Curve) -> int | None:
    places = [place for place, value in enumerate(curve.mean) if value is not None]
    return places[-1] if places else None


def _end_panel(
    curves: Sequence[Curve], lines: list[Line], arms: Sequence[str], axis: str, grid: str
) -> Panel:
    parts = []
    for line in lines:
        values = [value for value in line.mean if value is not None]
        if values:
            parts.append(
                f"{arms[line.arm]} from {number(min(values)).text} to {number(max(values)).text}"
            )
    at = f" at {grid}" if grid else ""
    return Panel(
        kind="lines",
        title=grid,
        label=f"{curves[0].metric} at the last step against {axis}{at}: {'; '.join(parts)}.",
        lines=lines,
        bands=band_texts([n for line in lines for n in line.seeds if n]),
    )
