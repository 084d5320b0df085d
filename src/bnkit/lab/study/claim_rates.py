"""The largest usable value of a grid key, such as the learning rate, per seed and arm."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from bnkit.lab.store.schema import TrialRecord
from bnkit.lab.study.claim_settings import ClaimSettings
from bnkit.lab.study.claim_values import Reading, grid_key


class RatesCannotBeReadError(Exception):
    """Why the grid has no largest usable value; becomes a verdict's reason."""


def read_rates(claim: ClaimSettings, trials: Sequence[TrialRecord]) -> list[Reading]:
    """Return the largest usable value at each point of the other grid keys.

    The largest value that does not diverge, all smaller ones being usable. If the grid's largest is
    usable, the truth lies at it or beyond; if its smallest diverges, the truth lies below it.

    Args:
        claim: names the grid key, `along`.
        trials: of one seed and arm, one per grid point.

    Raises:
        RatesCannotBeReadError: the grid's values are not positive numbers, or too few.

    Source: studies.md, Definitions of the probes.
    """
    groups: dict[str, list[tuple[float, bool]]] = {}
    for trial in trials:
        rate = _rate(claim, trial)
        groups.setdefault(_others_key(claim, trial.grid), []).append(
            (rate, trial.status == "complete")
        )
    return [_largest_usable(claim, sorted(group)) for group in groups.values()]


def other_points(
    claim: ClaimSettings, points: Iterable[Mapping[str, Any]]
) -> tuple[Mapping[str, Any], ...]:
    """Return the grid points without the key that the claim runs along, each once."""
    return tuple({_others_key(claim, point): _others(claim, point) for point in points}.values())


def rates_of(claim: ClaimSettings, trials: Iterable[TrialRecord]) -> tuple[float, ...]:
    """Return the grid's values, ascending."""
    return tuple(sorted({_rate(claim, trial) for trial in trials}))


def log_step(claim: ClaimSettings, trials: Iterable[TrialRecord]) -> float:
    """Return the widest gap between neighbouring values of the grid, in natural logarithms."""
    return float(np.diff(np.log(rates_of(claim, trials))).max())


def _largest_usable(claim: ClaimSettings, group: Sequence[tuple[float, bool]]) -> Reading:
    if len(group) < 2:
        raise RatesCannotBeReadError(f"{claim.along} has one value only, so none is the largest")
    usable = 0
    while usable < len(group) and group[usable][1]:
        usable += 1
    if usable == 0:
        return Reading(group[0][0], is_measured=False, bound=-1)
    return Reading(group[usable - 1][0], bound=1 if usable == len(group) else 0)


def _rate(claim: ClaimSettings, trial: TrialRecord) -> float:
    value = trial.grid.get(claim.along or "")
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf:
        return float(value)
    raise RatesCannotBeReadError(f"the values of {claim.along} are not all numbers above 0")


def _others(claim: ClaimSettings, point: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in point.items() if key != claim.along}


def _others_key(claim: ClaimSettings, point: Mapping[str, Any]) -> str:
    return grid_key(_others(claim, point))
