"""Where an effect must lie for its claim to hold, per kind of claim."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ClaimedRegion:
    """The part of the effect's axis where the claim holds.

    Attributes:
        parts: open intervals; a bound may be infinite.
        neutral: the effect of arms that do not differ: 0, or 1 for a ratio.
    """

    parts: tuple[tuple[float, float], ...]
    neutral: float

    @property
    def bounds(self) -> list[float]:
        """The finite bounds, ascending, each once."""
        found = {bound for part in self.parts for bound in part if math.isfinite(bound)}
        return sorted(found)


def claimed_region(claim: Mapping[str, Any]) -> ClaimedRegion:
    """Return where the claim holds.

    Args:
        claim: a table of `[[claims]]`, as stored.
    """
    kind = claim["kind"]
    margin = claim.get("margin") or 0.0
    above, below = (margin, math.inf), (-math.inf, -margin)
    if kind == "ratio-at-least":
        return ClaimedRegion(((claim["factor"], math.inf),), 1.0)
    if claim.get("reading") in ("largest-usable", "at-equal-loss"):
        return _ratio_region(claim)
    if kind == "equivalent":
        return ClaimedRegion(((-margin, margin),), 0.0)
    if kind == "which-is-better":
        return ClaimedRegion((below, above), 0.0)
    is_higher = kind == "higher" or (kind != "lower" and _direction(claim) == "higher")
    if kind == "non-inferior":
        return ClaimedRegion(((-margin, math.inf) if is_higher else (-math.inf, margin),), 0.0)
    return ClaimedRegion((above if is_higher else below,), 0.0)


def _ratio_region(claim: Mapping[str, Any]) -> ClaimedRegion:
    above, below = (1.0, math.inf), (-math.inf, 1.0)
    if claim["kind"] == "which-is-better":
        return ClaimedRegion((below, above), 1.0)
    return ClaimedRegion((above if claim["kind"] == "higher" else below,), 1.0)


def _direction(claim: Mapping[str, Any]) -> str:
    stated = claim.get("direction")
    if stated:
        return str(stated)
    is_less_better = (
        claim.get("reading") in ("fluctuation", "epochs-to-target")
        or claim.get("across", "mean") != "mean"
        or "loss" in claim["metric"]
    )
    return "lower" if is_less_better else "higher"
