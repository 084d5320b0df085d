"""What of a claim can be checked against the grid and the metrics before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bnkit.errors import did_you_mean
from bnkit.lab.probes.names import PROBES, RecordedMetric
from bnkit.lab.study.claim_settings import ClaimSettings


def check_metric(claim: ClaimSettings, metrics: Mapping[str, RecordedMetric]) -> None:
    """Refuse a claim about what nobody records.

    Args:
        claim: what is claimed.
        metrics: name → metric of all that is recorded.

    Raises:
        ValueError: the message.
    """
    if claim.reading == "largest-usable":
        return
    if claim.reading == "at-equal-loss":
        _check_loss(claim, metrics)
    if claim.metric not in metrics:
        raise ValueError(
            f"claim {claim.id!r} names the metric {claim.metric!r}; recorded are "
            f"{', '.join(metrics)}. {_remedy(claim.metric, metrics)}".rstrip(". ")
        )
    per = metrics[claim.metric].per
    named = {"layer": claim.layer, "key": claim.key or claim.better_key}
    for name, value in named.items():
        is_named = value is not None
        if is_named and name not in per:
            what = f"per {' and '.join(per)}" if per else "as one value per checkpoint"
            raise ValueError(
                f"claim {claim.id!r} names a {name} of {claim.metric}, which is recorded {what}; "
                f"leave {name} out"
            )
        if not is_named and name in per:
            raise ValueError(
                f"claim {claim.id!r} must say which {name}: {claim.metric} is recorded per "
                f"{' and '.join(per)}"
            )


def _check_loss(claim: ClaimSettings, metrics: Mapping[str, RecordedMetric]) -> None:
    if claim.loss not in metrics:
        raise ValueError(
            f"claim {claim.id!r} names the loss {claim.loss!r}; recorded are "
            f"{', '.join(metrics)}. {_remedy(claim.loss, metrics)}".rstrip(". ")
        )
    if per := metrics[claim.loss].per:
        raise ValueError(
            f"claim {claim.id!r} names the loss {claim.loss!r}, which is recorded per "
            f"{' and '.join(per)}; it takes one with one value per step, such as 'train loss'"
        )
    if claim.loss == claim.metric:
        raise ValueError(
            f"claim {claim.id!r} compares {claim.metric!r} where it is equal; name another loss"
        )


def _remedy(metric: str, metrics: Iterable[str]) -> str:
    for kind, entry in PROBES.items():
        if any(each.name == metric for each in entry.metrics):
            return f'The probe "{kind}" records it: add [[probes]] with kind = "{kind}"'
    return did_you_mean(metric, metrics)


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
