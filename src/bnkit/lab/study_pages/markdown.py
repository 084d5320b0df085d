"""Tables of Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; cells are Markdown already: see `cell`."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(text: str) -> str:
    """Return a text that is shown as it is, in a cell or in a sentence."""
    for symbol in "\\`*_<>|[]":
        text = text.replace(symbol, f"\\{symbol}")
    return " ".join(text.split())
