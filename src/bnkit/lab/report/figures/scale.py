"""Which part of an axis a figure shows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from bnkit.lab.report.figures.data import Line, Scale

# A Student t interval over two seeds is twelve standard deviations wide: what may widen a figure
# may do so by half of what the trials that did not diverge span, on each side.
BAND_ALLOWANCE = 0.5


def scale_of_lines(
    lines: Sequence[Line], diverged: Sequence[frozenset[int]], whole: float = 0.0
) -> Scale | None:
    """Return the axis that shows every trial that did not diverge, whole.

    Bands, and trials on their way to diverging, may widen it by a part of that and are cut off
    beyond, or one exploding loss would flatten all other curves. The logarithmic scale shows all.

    Args:
        lines: all that share the axis.
        diverged: per line the seeds of the trials that diverged.
        whole: how far bands may widen it at least, on each side.

    Returns:
        None if there is no number to show.
    """
    trained = [v for line in lines for v in _present(line.least, line.most)]
    trained += [mark.y for line in lines for mark in line.marks]
    if not trained:
        return None
    settled = [
        value
        for line, seeds in zip(lines, diverged, strict=True)
        for value in _settled(line, seeds)
    ] or trained
    edges = trained + [v for line in lines for v in _present(line.low, line.high)]
    lowest, highest = min(edges), max(edges)
    allowance = max(BAND_ALLOWANCE * (max(settled) - min(settled)), whole)
    linear = padded(max(lowest, min(settled) - allowance), min(highest, max(settled) + allowance))
    return Scale(linear, powers_of(trained), lowest < linear[0] or highest > linear[1])


def scale_of_values(values: Iterable[float | None]) -> Scale | None:
    """Return the axis that shows all values; None if there are none."""
    present = [value for value in values if value is not None]
    if not present:
        return None
    powers = powers_of(present) if min(present) >= 0 else None
    return Scale(padded(min(present), max(present)), powers)


def padded(bottom: float, top: float) -> tuple[float, float]:
    """Return limits a little beyond what must be seen."""
    padding = 0.05 * (top - bottom) or 0.05 * abs(top) or 0.05
    return bottom - padding, top + padding


def powers_of(values: Iterable[float]) -> tuple[float, float] | None:
    """Return padded limits as powers of ten; None if no value is positive."""
    positive = [value for value in values if value > 0]
    if not positive:
        return None
    return padded(math.log10(min(positive)), math.log10(max(positive)))


def _present(*columns: Sequence[float | None]) -> list[float]:
    return [value for column in columns for value in column if value is not None]


def _settled(line: Line, diverged: frozenset[int]) -> list[float]:
    if not line.trials:
        return _present(line.least, line.most)
    return [
        value
        for seed, values in line.trials.items()
        if seed not in diverged
        for value in values
        if value is not None
    ]
