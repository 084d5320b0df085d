"""Rows with times that a test chooses."""

from __future__ import annotations

from bnkit.bench.cases import Case
from bnkit.bench.row import Row, Sample

CASE = Case((32, 64, 56, 56))


def row_of(case=CASE, absent=None, **peers):
    """Return a row; each peer's whole times in ms, a quarter of them forward."""
    samples = {
        peer: [Sample(time, time / 4, time * 3 / 4) for time in times]
        for peer, times in peers.items()
    }
    return Row(
        case=case,
        threads=2,
        kernel="eager",
        kernel_reason="auto, because",
        samples=samples,
        absent=absent or {},
        errors={"y": {"bnkit": 0.5, "torch": float("inf"), "allowed": 8.0}},
    )
