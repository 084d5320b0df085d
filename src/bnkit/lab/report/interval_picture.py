"""The small picture of an effect, its interval and the region where the claim holds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from bnkit.lab.report.claimed_region import ClaimedRegion
from bnkit.page.number_format import MINUS

WIDTH = 320.0
EDGE = 16.0
LABEL_WIDTH = 44.0
PADDING = 0.12


@dataclass(frozen=True)
class Tick:
    """A labelled place on the axis; `label` is empty where two would overlap."""

    x: float
    label: str
    is_bound: bool


@dataclass(frozen=True)
class Picture:
    """Places along the axis, in the units of the drawing (0 to 320)."""

    effect: float
    low: float | None
    high: float | None
    shaded: tuple[tuple[float, float], ...]
    ticks: tuple[Tick, ...]


def interval_picture(
    effect: float | None,
    low: float | None,
    high: float | None,
    region: ClaimedRegion,
    *,
    is_ratio: bool,
) -> Picture | None:
    """Return where everything is drawn, or None if there is no finite effect to draw.

    A ratio has a logarithmic axis, on which 2 and 1/2 are equally far from 1.
    """
    numbers = [value for value in (effect, low, high) if value is not None]
    if effect is None or not all(math.isfinite(value) for value in numbers):
        return None
    if is_ratio and min(numbers) <= 0:
        return None
    place = _Axis([*numbers, *region.bounds, region.neutral], is_ratio=is_ratio)
    return Picture(
        effect=place(effect),
        low=None if low is None else place(low),
        high=None if high is None else place(high),
        shaded=tuple((place(start), place(end)) for start, end in region.parts),
        ticks=_ticks(region, place),
    )


class _Axis:
    """Map a number to its place in the drawing; infinite ones to the edge."""

    def __init__(self, numbers: Iterable[float], *, is_ratio: bool) -> None:
        self.is_ratio = is_ratio
        places = [self._transform(value) for value in numbers]
        span = (max(places) - min(places)) or abs(max(places)) or 1.0
        self.start = min(places) - PADDING * span
        self.end = max(places) + PADDING * span

    def __call__(self, value: float) -> float:
        if value == -math.inf:
            return 0.0
        if value == math.inf:
            return WIDTH
        share = (self._transform(value) - self.start) / (self.end - self.start)
        return round(EDGE + share * (WIDTH - 2 * EDGE), 2)

    def _transform(self, value: float) -> float:
        return math.log(value) if self.is_ratio else value


def _ticks(region: ClaimedRegion, place: _Axis) -> tuple[Tick, ...]:
    bounds = [Tick(place(bound), _setting(bound), True) for bound in region.bounds]
    if region.neutral in region.bounds:
        return tuple(bounds)
    x = place(region.neutral)
    is_free = all(abs(x - tick.x) >= LABEL_WIDTH for tick in bounds)
    return (*bounds, Tick(x, _setting(region.neutral) if is_free else "", False))


def _setting(value: float) -> str:
    """Return a bound as the study file states it, not as a measured number; −0 is 0."""
    return f"{value + 0.0:g}".replace("-", MINUS)
