"""The bars that the CPU kernels must reach, and whether a bench reaches them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bnkit.bench import Row, Summary

# (operation, dtype, layout) → times torch's speed, at least; training, forward and backward.
VS_TORCH = {
    ("bn-relu", "float32", "contiguous"): 3.5,
    ("bn-relu", "float32", "channels-last"): 2.5,
    ("bn", "float32", "contiguous"): 2.2,
    ("bn", "float32", "channels-last"): 1.5,
    ("bn-add-relu", "float32", "contiguous"): 3.5,
    ("bn-add-relu", "float32", "channels-last"): 2.5,
    ("bn-relu", "bfloat16", "contiguous"): 2.0,
    ("bn-relu", "bfloat16", "channels-last"): 2.0,
}
# layout → times the memory limit, at most; float32, each operation.
VS_LIMIT = {"contiguous": 1.8, "channels-last": 2.0}
COLD_SECONDS, WARM_SECONDS = 6.0, 1.2


def bar(name: str, required: str, measured: float | None, is_met: bool) -> dict[str, Any]:
    """Return one line of the list of bars; what was not measured is not met."""
    return {
        "bar": name,
        "required": required,
        "measured": None if measured is None else round(measured, 3),
        "met": is_met and measured is not None,
    }


def speed_bars(summaries: Iterable[Summary]) -> list[dict[str, Any]]:
    """Return the bars on geometric means, for the training step."""
    bars = []
    for each in summaries:
        if (each.mode, each.passes) != ("training", "both"):
            continue
        name = f"{each.operation} {each.dtype} {each.layout}"
        least = VS_TORCH.get((each.operation, each.dtype, each.layout))
        if least is not None:
            measured = each.vs_torch
            bars.append(bar(f"{name}: vs_torch", f">= {least}", measured, (measured or 0) >= least))
        if each.dtype == "float32":
            most, measured = VS_LIMIT[each.layout], each.vs_limit
            is_met = measured is not None and measured <= most
            bars.append(bar(f"{name}: vs_limit", f"<= {most}", measured, is_met))
    return bars


def row_bars(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return the bars on single rows: how many are too slow, and how many wrong."""
    rows = list(rows)
    slower = sum(not row.is_within_torch_bar for row in rows if not row.refusal)
    wrong = sum(bool(row.refusal) for row in rows)
    of = f"of {len(rows)} rows"
    return [
        bar(f"rows slower than torch by 5 % and 10 µs, {of}", "0", slower, slower == 0),
        bar(f"rows further from the float64 reference than allowed, {of}", "0", wrong, wrong == 0),
    ]


def first_call_bars(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the bars on the first call of a process."""
    most = {"cold": COLD_SECONDS, "warm": WARM_SECONDS}
    bars = []
    for row in rows:
        seconds, limit = row["seconds"]["median"], most[row["cache"]]
        name = f"first call, {row['cache']} cache, {row['operation']} {row['layout']}"
        bars.append(bar(name, f"<= {limit} s", seconds, seconds <= limit))
    return bars
