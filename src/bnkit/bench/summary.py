"""Rows to summaries: geometric means, the slowest shape, and the bars that speak of one shape."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bnkit.bench.row import Row

# The memory limit is one of memory only for tensors that are not handed on in a cache.
LARGE_MIB = 4.0


@dataclass(frozen=True)
class Summary:
    """Geometric means over the shapes of one operation, layout, dtype, mode and pass.

    Args:
        shapes: how many rows count.
        vs_torch, vs_compile: torch's time over bnkit's: more is better. None: not measured.
        large_shapes: how many of them are beyond LARGE_MIB.
        vs_limit, vs_limit_reused: bnkit's time over the limit's, over large shapes alone.
        slowest_shape, slowest_vs_torch, slowest_difference_us: the row that is worst beside torch.
        slower_shapes: shapes slower than torch by more than 5 % and by more than 10 µs.
        refused_shapes: shapes on which bnkit's results were wrong, and were not timed.
    """

    operation: str
    layout: str
    dtype: str
    mode: str
    passes: str
    shapes: int
    vs_torch: float | None
    vs_compile: float | None
    large_shapes: int
    vs_limit: float | None
    vs_limit_reused: float | None
    slowest_shape: tuple[int, ...] | None
    slowest_vs_torch: float | None
    slowest_difference_us: float | None
    slower_shapes: tuple[tuple[int, ...], ...]
    refused_shapes: tuple[tuple[int, ...], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as JSON has it."""
        content = asdict(self)
        content["pass"] = content.pop("passes")
        return content


def geometric_mean(values: Iterable[float | None]) -> float | None:
    """Return (v₁·v₂·…·vₙ)^(1/n) of the values that are not None; None if there are none.

    Args:
        values: above 0.

    Raises:
        ValueError: a value is 0 or less.
    """
    logarithms = [math.log(value) for value in values if value is not None]
    return math.exp(math.fsum(logarithms) / len(logarithms)) if logarithms else None


def summarize(rows: Iterable[Row]) -> list[Summary]:
    """Return one summary for each operation, layout, dtype, mode and pass, in the rows' order."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        case = row.case
        key = (case.operation, case.layout, case.dtype, case.mode, case.passes)
        groups.setdefault(key, []).append(row)
    return [_summarize(key, group) for key, group in groups.items()]


def _summarize(key: Sequence[str], rows: list[Row]) -> Summary:
    timed = [row for row in rows if row.vs_torch is not None]
    large = [row for row in timed if row.case.tensor_mib > LARGE_MIB]
    slowest = min(timed, key=lambda row: row.vs_torch or math.inf, default=None)
    operation, layout, dtype, mode, passes = key
    return Summary(
        operation=operation,
        layout=layout,
        dtype=dtype,
        mode=mode,
        passes=passes,
        shapes=len(timed),
        vs_torch=geometric_mean(row.vs_torch for row in timed),
        vs_compile=geometric_mean(row.vs_compile for row in timed),
        large_shapes=len(large),
        vs_limit=geometric_mean(row.vs_limit for row in large),
        vs_limit_reused=geometric_mean(row.vs_limit_reused for row in large),
        slowest_shape=None if slowest is None else slowest.case.shape,
        slowest_vs_torch=None if slowest is None else slowest.vs_torch,
        slowest_difference_us=None if slowest is None else slowest.difference_us,
        slower_shapes=tuple(row.case.shape for row in timed if not row.is_within_torch_bar),
        refused_shapes=tuple(row.case.shape for row in rows if row.refusal),
    )
