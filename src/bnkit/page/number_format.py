"""Numbers as text, each with the exact value it stands for."""

from __future__ import annotations

import math
from dataclasses import dataclass

MISSING = "n/a"
MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Number:
    """A number on the page: the text that is read, and the exact value behind it."""

    text: str
    value: float | None


@dataclass(frozen=True)
class Estimate:
    """An estimate with its interval, all three rounded to the same place."""

    value: Number
    low: Number
    high: Number

    @property
    def has_interval(self) -> bool:
        """Whether there is an interval at all."""
        return self.low.value is not None and self.high.value is not None


def number(value: float | None, *, decimals: int | None = None, signed: bool = False) -> Number:
    """Return `value` with four significant digits, or with the given number of decimals."""
    if value is None:
        return Number(MISSING, None)
    if not math.isfinite(value):
        text = "NaN" if math.isnan(value) else ("∞" if value > 0 else f"{MINUS}∞")
        return Number(text, value)
    text = _round_significantly(abs(value)) if decimals is None else f"{abs(value):,.{decimals}f}"
    is_zero_as_shown = not any(digit in text for digit in "123456789")
    if not is_zero_as_shown and value < 0:
        text = MINUS + text
    elif not is_zero_as_shown and signed:
        text = "+" + text
    return Number(text, value)


def estimate(
    value: float | None, low: float | None, high: float | None, *, signed: bool = False
) -> Estimate:
    """Return an estimate and its interval, rounded to two digits of the interval's half width.

    Without an interval, or with one of no width, the numbers have four significant digits.
    """
    decimals = None
    if value is not None and low is not None and high is not None:
        half_width = (high - low) / 2
        if math.isfinite(half_width) and half_width > 0:
            place = 1 - math.floor(math.log10(half_width))
            largest = max(abs(value), abs(low), abs(high))
            # below six decimals and above six digits the scientific form reads better
            decimals = max(0, place) if place <= 6 and largest < 1e6 else None
    low_number, high_number = (
        number(bound, decimals=decimals, signed=signed) for bound in (low, high)
    )
    return Estimate(number(value, decimals=decimals, signed=signed), low_number, high_number)


def p_value(p: float | None) -> Number:
    """Return a p value with two significant digits, or as "< 0.0001"."""
    if p is None:
        return Number(MISSING, None)
    if not math.isfinite(p):
        return number(p)
    return Number("< 0.0001" if p < 0.0001 else f"{p:#.2g}", p)


def duration(seconds: float) -> Number:
    """Return seconds as "12.3 s", "4 min 05 s" or "2 h 03 min"."""
    if seconds < 59.95:
        return Number(f"{seconds:.1f} s", seconds)
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return Number(f"{minutes} min {rest:02d} s", seconds)
    hours, minutes = divmod(minutes, 60)
    return Number(f"{hours} h {minutes:02d} min", seconds)


def _round_significantly(value: float) -> str:
    if value == 0:
        return "0"
    if value >= 1e6 or value < 1e-4:
        mantissa, exponent = f"{value:.3e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:#.4g}".rstrip(".")
