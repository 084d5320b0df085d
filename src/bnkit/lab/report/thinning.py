"""Fewer points than were recorded, without hiding a peak: honest, and said on the figure."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

FEWEST_POINTS, MOST_POINTS = 32, 400
THINNED = (
    "Drawn at {shown:,} of {recorded:,} recorded steps: of each group of neighbouring steps "
    "those with the lowest and the highest values."
)


def thin(
    frame: pl.DataFrame,
    groups: Sequence[str],
    *,
    limit: int,
    lows: Sequence[str],
    highs: Sequence[str],
) -> pl.DataFrame:
    """Return at most about `limit` rows of each group, its first and last and all peaks in it.

    The rows of a group are cut into runs of equal length; of each run the rows stay in which a
    column of `lows` is smallest, one of `highs` is largest, and the first one without a value.

    Args:
        frame: one row per group and step; a value may be null.
        groups: the columns that tell groups apart.
        limit: rows per group; groups that are not longer stay whole.
        lows, highs: columns whose smallest, largest values must stay.

    Returns:
        The rows that stay, sorted by group and step, with the group's rows before in `recorded`.
    """
    ordered = (
        frame.sort(*groups, "step", nulls_last=True)
        .with_columns(group=pl.struct(groups).rle_id())
        .with_row_index("row")
        .with_columns(recorded=pl.len().over("group"), place=pl.int_range(pl.len()).over("group"))
    )
    if not ordered.height or largest(ordered, "recorded") <= limit:
        return ordered.drop("group", "row", "place")
    runs = max(1, limit // (len(lows) + len(highs)))
    row, first = pl.col("row"), lows[0]
    peaks = [row.get(pl.col(column).arg_min()).alias(f"low {column}") for column in lows]
    peaks += [row.get(pl.col(column).arg_max()).alias(f"high {column}") for column in highs]
    gap = row.filter(pl.col(first).is_null()).first().alias("gap")
    long = ordered.filter(pl.col("recorded") > limit).with_columns(
        run=pl.col("place") * runs // pl.col("recorded")
    )
    found = long.group_by("group", "run").agg(*peaks, gap)
    kept = [found[name] for name in found.columns if name not in ("group", "run")]
    chosen = pl.concat([column.rename("row") for column in kept]).drop_nulls().unique()
    at_end = (pl.col("place") == 0) | (pl.col("place") == pl.col("recorded") - 1)
    stays = (pl.col("recorded") <= limit) | at_end | row.is_in(chosen.implode())
    return ordered.filter(stays).drop("group", "row", "place")


def points_per_series(frame: pl.DataFrame, groups: Sequence[str], room: int, columns: int) -> int:
    """Return at how many steps each series can be drawn.

    Args:
        frame: one row per series and step.
        groups: the columns that tell series apart.
        room: about how many numbers all of them may hold together.
        columns: numbers per series and step.
    """
    series = max(1, frame.select(groups).unique().height)
    return min(MOST_POINTS, max(FEWEST_POINTS, room // (series * columns)))


def largest(frame: pl.DataFrame, column: str) -> int:
    """Return the largest whole number in a column; 0 if there is none."""
    found = frame[column].max()
    return found if isinstance(found, int) else 0


def thinned_text(shown: int, recorded: int) -> str:
    """Return what is said on a figure whose longest curve was thinned; empty if none was."""
    return THINNED.format(shown=shown, recorded=recorded) if shown < recorded else ""
