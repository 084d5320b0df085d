"""Words that several rules' messages need."""

from __future__ import annotations

from collections.abc import Sequence


def listed(items: Sequence[object], limit: int = 5) -> str:
    """Return "1, 4, 9", of many the first and their number: "1, 4, 9, 12, 20 … (64)"."""
    shown = ", ".join(str(item) for item in items[:limit])
    return shown if len(items) <= limit else f"{shown} … ({len(items)})"


def channels(numbers: Sequence[int]) -> str:
    """Return "channel 3" or "channels 1, 4, 9"."""
    return f"channel{'' if len(numbers) == 1 else 's'} {listed(numbers)}"
