"""What of a claim can be checked against the grid and the metrics before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bnkit.errors import did_you_mean
from bnkit.lab.study.claim_settings import ClaimSettings


def check_metric(claim: ClaimSettings, metrics: Sequence[str]) -> None:
    """Refuse a claim about what nobody records.

    Args:
        claim: what is claimed.
        metrics: the metrics that are recorded, one value per checkpoint.

    Raises:
        ValueError: the message.
    """
    if claim.reading == "largest-usable":
        return
    if claim.metric not in metrics:
        near = did_you_mean(claim.metric, metrics)
        raise ValueError(
            f"claim {claim.id!r} names the metric {claim.metric!r}; "
            f"recorded are {', '.join(metrics)}. {near}".rstrip(". ")
        )
    for name in ("layer", "key"):
        if getattr(claim, name) is not None:
            raise ValueError(
                f"claim {claim.id!r} names a {name} of {claim.metric}, which is recorded as one "
                f"value per checkpoint; leave {name} out"
            )


def check_grid(claim: ClaimSettings, grid: Mapping[str, Sequence[Any]]) -> None:
    """Refuse a claim that the values of the grid can never bear out.

    Args:
        claim: what is claimed.
        grid: dotted key → values.

    Raises:
        ValueError: the message.
    """
    for key, value in claim.where.items():
        if value not in grid[key]:
            values = ", ".join(map(repr, grid[key]))
            raise ValueError(
                f"claim {claim.id!r} speaks of {key} = {value!r}; the grid has {values}"
            )
    if claim.along is not None:
        _check_along(claim, claim.along, grid[claim.along])
    varied = [key for key in grid if key not in ("seed", *claim.where)]
    if claim.across != "mean" and not any(len(grid[key]) > 1 for key in varied):
        raise ValueError(
            f"claim {claim.id!r} asks for the {claim.across} across grid points, but there is one "
            "only; give [grid] a key with several values"
        )


def _check_along(claim: ClaimSettings, key: str, values: Sequence[Any]) -> None:
    is_largest = claim.reading == "largest-usable"
    needs_logarithm = is_largest or claim.scale == "log"
    least = 0.0 if needs_logarithm else -math.inf
    fits = all(
        isinstance(value, int | float) and not isinstance(value, bool) and least < value < math.inf
        for value in values
    )
    if not fits or (is_largest and len(values) < 2):
        kind = "numbers above 0" if needs_logarithm else "numbers"
        raise ValueError(
            f"claim {claim.id!r} runs along {key} = {list(values)!r}; "
            f"it needs {'at least two values' if is_largest else 'values'}, all of them {kind}"
        )
