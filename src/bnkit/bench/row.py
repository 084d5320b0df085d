"""One row of the table: a case, each peer's times, and the ratios between them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bnkit.bench.cases import Case

BNKIT, TORCH, COMPILE = "bnkit", "torch", "compile"
LIMIT, LIMIT_REUSED = "limit", "limit_reused"

# "No shape slower than torch by more than 5 % or 10 µs, whichever is larger."
SLOWER_RATIO, SLOWER_US = 1.05, 10.0


class Sample(NamedTuple):
    """What one call of one peer took, in milliseconds; the whole includes freeing the results."""

    whole_ms: float
    forward_ms: float
    backward_ms: float


class Spread(NamedTuple):
    """Median, quartiles and extremes of one peer's times."""

    median: float
    low_quartile: float
    high_quartile: float
    min: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of at least one value."""
        low, median, high = _quartiles(values)
        return cls(median, low, high, min(values), max(values))


@dataclass(frozen=True)
class Row:
    """One case, measured.

    Args:
        case: what was measured.
        threads: torch's threads.
        kernel, kernel_reason: what `kernel_for` says of x.
        samples: peer → one sample for each round, all peers side by side; without a peer that is
            absent or was refused.
        absent: peer → why it has no samples.
        errors: result → peer → largest error against the float64 reference, and what bnkit was
            "allowed"; in units in the last place of the largest value.
    """

    case: Case
    threads: int
    kernel: str
    kernel_reason: str
    samples: Mapping[str, Sequence[Sample]]
    absent: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def rounds(self) -> int:
        """How often each peer was measured."""
        return max((len(samples) for samples in self.samples.values()), default=0)

    @property
    def refusal(self) -> str:
        """Why bnkit was not timed; empty if it was."""
        return self.absent.get(BNKIT, "")

    @property
    def vs_torch(self) -> float | None:
        """How many times faster than torch: the median over rounds of torch's time by bnkit's."""
        return self._median(TORCH, BNKIT, lambda theirs, ours: theirs / ours)

    @property
    def vs_compile(self) -> float | None:
        """How many times faster than torch.compile."""
        return self._median(COMPILE, BNKIT, lambda theirs, ours: theirs / ours)

    @property
    def vs_limit(self) -> float | None:
        """Bnkit's time by that of the unavoidable copies into fresh memory."""
        return self._median(BNKIT, LIMIT, lambda ours, limit: ours / limit)

    @property
    def vs_limit_reused(self) -> float | None:
        """Bnkit's time by that of the unavoidable copies into memory that is there already."""
        return self._median(BNKIT, LIMIT_REUSED, lambda ours, limit: ours / limit)

    @property
    def difference_us(self) -> float | None:
        """Bnkit's time less torch's, in µs."""
        return self._median(BNKIT, TORCH, lambda ours, theirs: (ours - theirs) * 1e3)

    @property
    def is_within_torch_bar(self) -> bool:
        """Whether bnkit is not slower than torch by more than 5 % or 10 µs."""
        if self.vs_torch is None or self.difference_us is None:
            return False
        return self.vs_torch >= 1 / SLOWER_RATIO or self.difference_us <= SLOWER_US

    def spread(self, peer: str, part: str = "whole_ms") -> Spread | None:
        """Return the spread of a peer's times, in ms; None if it was not timed."""
        samples = self.samples.get(peer)
        return Spread.of([getattr(sample, part) for sample in samples]) if samples else None

    def to_dict(self) -> dict[str, Any]:
        """Return the row as JSON has it; times in ms, absent ones null."""
        case = self.case
        content: dict[str, Any] = {
            "shape": list(case.shape),
            "layout": case.layout,
            "dtype": case.dtype,
            "operation": case.operation,
            "mode": case.mode,
            "pass": case.passes,
            "threads": self.threads,
            "tensor_mib": round(case.tensor_mib, 4),
            "rounds": self.rounds,
            "kernel": self.kernel,
            "kernel_reason": self.kernel_reason,
        }
        for peer in (BNKIT, TORCH, COMPILE, LIMIT, LIMIT_REUSED):
            content[f"{peer}_ms"] = self._median_ms(peer, "whole_ms")
            content[f"{peer}_forward_ms"] = self._median_ms(peer, "forward_ms")
            content[f"{peer}_backward_ms"] = self._median_ms(peer, "backward_ms")
            spread = self.spread(peer)
            content[f"{peer}_spread_ms"] = None if spread is None else spread._asdict()
        for ratio in ("vs_torch", "vs_compile", "vs_limit", "vs_limit_reused", "difference_us"):
            content[ratio] = getattr(self, ratio)
        content["within_torch_bar"] = self.is_within_torch_bar
        content["absent"] = dict(self.absent)
        content["error_ulps"] = {name: dict(errors) for name, errors in self.errors.items()}
        rounded: dict[str, Any] = _rounded(content)
        return rounded

    def _median_ms(self, peer: str, part: str) -> float | None:
        if part == "backward_ms" and self.case.passes == "forward":
            return None
        spread = self.spread(peer, part)
        return None if spread is None else spread.median

    def _median(
        self, first: str, second: str, combine: Callable[[float, float], float]
    ) -> float | None:
        """Return the median over rounds: two peers of one round suffer the same disturbance."""
        pairs = zip(self.samples.get(first, ()), self.samples.get(second, ()), strict=False)
        values = [combine(one.whole_ms, other.whole_ms) for one, other in pairs]
        return statistics.median(values) if values else None


def _rounded(content: Any) -> Any:
    """Return data with six significant digits, and null for what JSON has no number for."""
    if isinstance(content, float):
        return float(f"{content:.6g}") if math.isfinite(content) else None
    if isinstance(content, dict):
        return {key: _rounded(value) for key, value in content.items()}
    return content


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, median, high
