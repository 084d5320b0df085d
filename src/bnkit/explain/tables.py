"""Numbers, tables and blocks of values as text that fits a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bnkit.explain.batch import Array

WIDTH = 80
INDENT = "    "
# What is shown of a large batch. A block is one channel of one example.
MAX_TABLE_ROWS = 10
MAX_CHANNELS = 3
MAX_EXAMPLES = 4
MAX_ROWS = 6
MAX_COLUMNS = 8
GAP = "   "


def format_numbers(
    values: Sequence[float] | Array, resolution: float = 0.0, *, keep_small: bool = False
) -> list[str]:
    """Write numbers with decimals in common, as few as show what is to be seen.

    Args:
        values: finite numbers.
        resolution: the smallest difference of interest; by default, and at most, about 1/10000 of
            the largest number.
        keep_small: numbers far smaller than the largest are of interest too.
    """
    numbers = [float(value) for value in np.asarray(values, dtype=np.float64).ravel()]
    largest = max((abs(number) for number in numbers), default=0.0)
    if largest == 0:
        return ["0"] * len(numbers)
    step = min(resolution or math.inf, largest * 1e-4)
    last_place = math.floor(math.log10(step)) if step > 0 else -324
    first_place = math.floor(math.log10(largest))
    digits = min(max(first_place - last_place + 1, 5), 15)
    decimals = max(0, digits - 1 - first_place)
    lost = keep_small and any(0 < abs(number) < 10.0 ** (2 - decimals) for number in numbers)
    if lost or decimals > 9 or first_place > 8:
        return [f"{number:.{digits}g}" for number in numbers]
    return _strip_common_zeros([f"{number:.{decimals}f}" for number in numbers])


def _strip_common_zeros(texts: list[str]) -> list[str]:
    while all("." in text and text.endswith("0") for text in texts):
        texts = [text[:-1] for text in texts]
    texts = [text.removesuffix(".") for text in texts]
    return [text.removeprefix("-") if float(text) == 0 else text for text in texts]


def table(headers: Sequence[str], columns: Sequence[Sequence[str]]) -> list[str]:
    """Return a table, the first column flush left, the others right; a long one is cut."""
    rows = len(columns[0])
    shown = rows if rows <= MAX_TABLE_ROWS else MAX_TABLE_ROWS
    cells = [[header, *column[:shown]] for header, column in zip(headers, columns, strict=True)]
    widths = [max(map(len, column)) for column in cells]
    gap = GAP if len(INDENT) + sum(widths) + len(GAP) * len(widths) <= WIDTH else "  "
    lines = []
    for row in zip(*cells, strict=True):
        first, *others = (
            text.ljust(width) if index == 0 else text.rjust(width)
            for index, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append((INDENT + gap.join([first, *others])).rstrip())
    if shown < rows:
        lines += [f"{INDENT}…", f"{INDENT}({shown} of {rows} rows; --format json has all)"]
    return lines


def blocks(values: Array, labels: Sequence[str], resolutions: Sequence[float]) -> list[str]:
    """Return the values of a batch, channel by channel, examples side by side or row by row.

    Args:
        values: shape (N, C), (N, C, L) or (N, C, H, W).
        labels: one per channel.
        resolutions: one per channel, as in `format_numbers`.
    """
    lines = []
    for channel in range(min(values.shape[1], MAX_CHANNELS)):
        part = values[:, channel]
        lines.append(f"{INDENT}{labels[channel]}")
        if part.ndim == 3:
            lines += _side_by_side(part, resolutions[channel])
        else:
            lines += _row_by_row(part, resolutions[channel])
    note = _elision_note(values)
    return [*lines, note] if note else lines


def _row_by_row(part: Array, resolution: float) -> list[str]:
    """Show one channel of shape (N,) in one row, of shape (N, L) in one row per example."""
    if part.ndim == 1:
        shown = part[None, :MAX_COLUMNS]
        heads = ["examples 0, 1, …" if len(part) > 2 else "examples 0, 1"]
    else:
        shown = part[:MAX_EXAMPLES, :MAX_COLUMNS]
        heads = [f"example {n}" for n in range(len(shown))]
    room = WIDTH - len(INDENT) - 2 - len(heads[0]) - len(GAP)
    lines = _rows(shown, shown.shape[1] < part.shape[-1], resolution, room)
    return [f"{INDENT}  {head}{GAP}{line}" for head, line in zip(heads, lines, strict=True)]


def _side_by_side(part: Array, resolution: float) -> list[str]:
    """Show one channel of shape (N, H, W): each example a block, side by side while they fit."""
    shown = part[:MAX_EXAMPLES, :MAX_ROWS, :MAX_COLUMNS]
    examples, rows, columns = shown.shape
    room = WIDTH - len(INDENT) - 2
    lines = _rows(shown.reshape(-1, columns), columns < part.shape[-1], resolution, room)
    width = max(len(lines[0]), len("example 0"))
    fitting = max(1, (WIDTH - len(INDENT) - 2 + len(GAP)) // (width + len(GAP)))
    examples = min(examples, fitting)
    pieces = [[f"example {n}", *lines[n * rows : (n + 1) * rows]] for n in range(examples)]
    return [
        (INDENT + "  " + GAP.join(piece.ljust(width) for piece in row)).rstrip()
        for row in zip(*pieces, strict=True)
    ]


def _rows(shown: Array, is_cut: bool, resolution: float, room: int) -> list[str]:
    """Return one line per row, numbers right-aligned, cut to the columns that fit in `room`."""
    texts = format_numbers(shown, resolution)
    cell = max(map(len, texts))
    columns = shown.shape[1]
    # The last column needs no gap after it, but perhaps the three characters of "  …".
    fitting = max(1, (room - 1) // (cell + 2))
    tail = "  …" if is_cut or fitting < columns else ""
    return [
        "  ".join(text.rjust(cell) for text in texts[start : start + min(columns, fitting)]) + tail
        for start in range(0, len(texts), columns)
    ]


def _elision_note(values: Array) -> str:
    limits = {
        2: (MAX_COLUMNS, MAX_CHANNELS),
        3: (MAX_EXAMPLES, MAX_CHANNELS, MAX_COLUMNS),
        4: (MAX_EXAMPLES, MAX_CHANNELS, MAX_ROWS, MAX_COLUMNS),
    }[values.ndim]
    if all(size <= limit for size, limit in zip(values.shape, limits, strict=True)):
        return ""
    return f"{INDENT}(a part of shape {values.shape}; --format json has every value)"
