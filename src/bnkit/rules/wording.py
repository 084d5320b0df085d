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


def number_in_words(number: float) -> str:
    """Return a number with a decimal prefix: "812", "3.2 k", "25.7 M", "1.1 G"."""
    return _scaled(number, 1000, ("", "k", "M", "G", "T")).rstrip()


def bytes_in_words(number: float) -> str:
    """Return bytes with a binary prefix: "812 B", "3.1 KiB", "98 MiB"."""
    return _scaled(number, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))


def _scaled(number: float, base: int, units: Sequence[str]) -> str:
    power = 0
    while number >= base and power < len(units) - 1:
        number /= base
        power += 1
    return f"{number:.3g} {units[power]}" if number < 1000 else f"{number:.0f} {units[power]}"
