"""A description as a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bnkit.inspection.description import DescribedLayer, Description

HEAD = ("layer", "kind", "C", "4C+2", "learnt", "mode", "normalizes by", "m", "share", "output")
# Columns of numbers, aligned at the right.
RIGHT = (2, 3, 4, 7, 8, 9)
_BINARY = ("B", "KiB", "MiB", "GiB")
_KIBI = 1024


def description_text(description: Description) -> str:
    """Return a row per layer, the totals, and what the columns count."""
    if not description.layers:
        return f"{description.target}: the model has no normalization layer."
    return "\n".join(
        [
            f"{description.target}: {description.model_parameters} parameters",
            "",
            *_table(rows(description)),
            "",
            *legend(description),
        ]
    )


def rows(description: Description) -> list[tuple[str, ...]]:
    """Return the head, a row per layer, and the totals; a column may be empty but for its head."""
    totals = description.totals
    last = (
        f"{totals['layers']} layer{'s' * (totals['layers'] != 1)}",
        "",
        str(totals["channels"]),
        str(totals["parameters"]),
        str(totals["learnable"]),
        *("", "", ""),
        _percent(totals["share"]),
        _bytes(totals["activation_bytes"]),
    )
    return [HEAD, *(_row(layer) for layer in description.layers), last]


def used_columns(table: Sequence[Sequence[str]]) -> list[int]:
    """Return the columns that hold more than their head."""
    return [c for c in range(len(HEAD)) if any(row[c] for row in table[1:])]


def _row(layer: DescribedLayer) -> tuple[str, ...]:
    return (
        layer.path or "(model)",
        layer.kind,
        "" if layer.channels is None else str(layer.channels),
        str(layer.parameters),
        str(layer.learnable),
        layer.mode,
        layer.normalizes_by,
        ", ".join(layer.values_per_channel or ()),
        _percent(layer.share),
        _bytes(layer.activation_bytes),
    )


def legend(description: Description) -> list[str]:
    """Return what the columns count, as lines."""
    lines = [
        "4C+2: γ, β, running mean and running variance, C values each, plus eps and momentum; what "
        "a layer lacks is not counted.",
        "learnt: values of γ and β that gradients train. share: γ and β as a part of the model's "
        "parameters.",
    ]
    if description.example_size is None:
        lines.append("m and output need an example input.")
    else:
        lines.append(
            "m: values per channel, with N the batch. output: bytes that the layer puts out on the "
            f"example, N = {description.example_size}."
        )
    return lines


def _table(table: Sequence[Sequence[str]]) -> list[str]:
    """Return rows in columns, a rule under the first and above the last; empty columns are left."""
    used = used_columns(table)
    widths = {c: max(len(row[c]) for row in table) for c in used}
    lines = [
        "  ".join(
            row[c].rjust(widths[c]) if c in RIGHT else row[c].ljust(widths[c]) for c in used
        ).rstrip()
        for row in table
    ]
    rule = "─" * (sum(widths.values()) + 2 * (len(used) - 1))
    return [lines[0], rule, *lines[1:-1], rule, lines[-1]]


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _bytes(number: int | None) -> str:
    if number is None:
        return ""
    value, power = float(number), 0
    while value >= _KIBI and power < len(_BINARY) - 1:
        value, power = value / _KIBI, power + 1
    return f"{value:.1f} {_BINARY[power]}" if power else f"{number} B"
