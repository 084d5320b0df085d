"""One claim against its paired values: effect, interval and p value, for each kind."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bnkit.lab.study.claim_bounds import Openness, Signs, is_safe, openness, signs
from bnkit.lab.study.claim_pairs import CannotBeTestedError, PairedValues
from bnkit.lab.study.claim_quantity import quantity
from bnkit.lab.study.claim_settings import ClaimSettings
from bnkit.lab.study.statistics import (
    ROUNDING_UNITS,
    Array,
    MeanEstimate,
    bca_interval,
    estimate_mean,
    geometric_mean,
    least_squares_slopes,
    two_sided_p,
)

FEWEST_SEEDS = 3
LARGEST_LOGARITHM = 709.0


@dataclass(frozen=True)
class Evaluation:
    """What the paired values say about one claim, before Holm's adjustment.

    Attributes:
        effect: difference, ratio or slope, better against than.
        interval: its 95 % Student t interval, None for one seed.
        bootstrap: its 95 % BCa interval, from ten seeds on.
        p: two-sided; None for too few seeds.
        side: 1 if the effect lies where the claim holds, −1 if it lies where the claim is refuted,
            0 if it is too small to count.
        checkpoint: index of the checkpoint that effect, interval and means are of.
        means: arm → mean over seeds and grid points at that checkpoint.
        seeds: number of paired seeds.
        is_constant: whether all seeds differ by the same amount; the interval then is at least as
            wide as the metric's resolution leaves it.
        is_above: whether `better` lies above `than`, or the slope above 0.
        open_to: in which directions the true effect may differ from this one, where trials have
            bounds instead of values; open to both, there is neither effect nor interval.
        signs: the order of the arms by seed, where that alone was judged.
    """

    effect: float | None
    interval: tuple[float, float] | None
    bootstrap: tuple[float, float] | None
    p: float | None
    side: int
    checkpoint: int
    means: Mapping[str, float]
    seeds: int
    is_constant: bool
    is_above: bool
    open_to: Openness
    signs: Signs | None = None


class _Effects(NamedTuple):
    """The effect of each seed at each checkpoint.

    Attributes:
        values: shape (seeds, checkpoints).
        rounding: how far rounding can move an effect, shape (checkpoints,).
        is_constant: whether all seeds differ by the same amount, shape (checkpoints,).
        resolution: the effect of one step of the metric, shape (checkpoints,).
    """

    values: Array
    rounding: Array
    is_constant: NDArray[np.bool_]
    resolution: Array


def evaluate(claim: ClaimSettings, paired: PairedValues) -> Evaluation:
    """Return what the values say.

    Raises:
        CannotBeTestedError: the values do not allow this kind of claim.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        effects = _effects(claim, paired)
    if not np.isfinite(effects.values).all():
        raise CannotBeTestedError("the values are too large to be compared")
    try:
        estimate = _with_resolution(estimate_mean(effects.values), effects)
    except FloatingPointError:
        raise CannotBeTestedError("the values are too large to be compared") from None
    sign = 1.0 if claim.favours == "higher" else -1.0
    column, side, p = int(np.argmin(sign * estimate.mean)), 0, None
    if estimate.n >= FEWEST_SEEDS:
        sides, distance = _side_and_distance(claim, estimate.mean, effects.rounding)
        column, side, p = _over_checkpoints(claim, estimate, sides, distance)
    with np.errstate(over="ignore"):
        interval = estimate.interval()
    if interval is not None and not np.isfinite(interval).all():
        raise CannotBeTestedError("the values are too large to be compared")
    evaluation = Evaluation(
        effect=_shown(claim, estimate.mean[column]),
        interval=interval
        and (_shown(claim, interval[0][column]), _shown(claim, interval[1][column])),
        bootstrap=_bootstrap(claim, effects.values[:, column]),
        p=p,
        side=side,
        checkpoint=column,
        means={
            arm: _mean(claim, combined(claim, v)[:, column]) for arm, v in paired.values.items()
        },
        seeds=estimate.n,
        is_constant=bool(effects.is_constant[column]),
        is_above=bool(estimate.mean[column] > 0),
        open_to=openness(claim, paired),
    )
    return _with_bounds(claim, paired, evaluation, estimate.mean[column])


def combined(claim: ClaimSettings, values: Array) -> Array:
    """Return one value per seed and checkpoint of those at the grid points.

    Args:
        claim: says what across: mean, range (max − min) or deviation (n − 1); the mean of rates,
            and of values at equal losses, is geometric.
        values: shape (seeds, grid points, checkpoints).

    Raises:
        CannotBeTestedError: a spread of one grid point.
    """
    if claim.is_read_as_ratio:
        return geometric_mean(values, axis=1)
    if claim.across == "mean":
        mean: Array = values.mean(axis=1)
        return mean
    if values.shape[1] < 2:
        raise CannotBeTestedError("there is one grid point only, so nothing varies over the grid")
    spread: Array = (
        np.ptp(values, axis=1) if claim.across == "range" else values.std(axis=1, ddof=1)
    )
    return spread


def _mean(claim: ClaimSettings, values: Array) -> float:
    """Return the mean over seeds, of ratios' parts the geometric one."""
    if claim.is_read_as_ratio:
        return float(geometric_mean(values))
    return float(values.mean())


def _with_bounds(
    claim: ClaimSettings, paired: PairedValues, found: Evaluation, mean: float
) -> Evaluation:
    """Return the evaluation, made to say no more than values that are mere bounds allow."""
    open_to = found.open_to
    if not any(open_to):
        return found
    if claim.kind == "trend":
        raise CannotBeTestedError(
            f"a slope needs a value of every trial, and some lack the {quantity(claim)}"
        )
    if found.p is not None:
        boundary_is_below = mean > _boundary(claim, mean)
        if found.side == 0 or not is_safe(claim, found.side, boundary_is_below, open_to):
            better, than = (
                combined(claim, paired.values[arm])[:, 0] for arm in (claim.better, str(claim.than))
            )
            found = _by_order(claim, found, signs(claim, paired, better, than))
    if all(open_to) or found.signs is not None:
        found = replace(found, effect=None, interval=None, bootstrap=None)
    return found


def _by_order(claim: ClaimSettings, found: Evaluation, order: Signs | None) -> Evaluation:
    if order is None or order.above == order.below:
        return replace(found, side=0, p=1.0, signs=order)
    is_above = order.above > order.below
    side = 1 if claim.kind == "which-is-better" or is_above == (claim.favours == "higher") else -1
    return replace(found, side=side, p=order.p, is_above=is_above, signs=order)


def _boundary(claim: ClaimSettings, mean: float) -> float:
    """Return the boundary that a mean effect (of ratios, its logarithm) is held against."""
    if claim.kind == "ratio-at-least":
        assert claim.factor is not None
        return math.log(claim.factor)
    margin = claim.margin or 0.0
    if claim.kind == "non-inferior":
        return -margin if claim.favours == "higher" else margin
    return math.copysign(margin, mean)


def _with_resolution(estimate: MeanEstimate, effects: _Effects) -> MeanEstimate:
    """Return the estimate with a standard error that coarse values have not made too small.

    An accuracy on few images can differ by the same amount in three seeds by chance alone. A value
    rounded to steps of h has variance h²/12 within its step, so that a difference which is the same
    in every seed has standard deviation h/√6.
    """
    least = np.where(effects.is_constant, effects.resolution / math.sqrt(6 * estimate.n), 0.0)
    return estimate._replace(standard_error=np.maximum(estimate.standard_error, least))


def _effects(claim: ClaimSettings, paired: PairedValues) -> _Effects:
    if claim.kind == "trend":
        return _slopes(claim, paired)
    if claim.than_value is not None:
        return _from_value(claim, paired, claim.than_value)
    assert claim.than is not None
    arms = (claim.better, claim.than)
    better, than = (combined(claim, paired.values[arm]) for arm in arms)
    size = np.max([np.abs(paired.values[arm]).max(axis=(0, 1)) for arm in arms], axis=0)
    rounding = ROUNDING_UNITS * size
    is_constant = _agree(better - than, rounding)
    resolution = np.full_like(size, paired.resolution)
    if not claim.is_ratio:
        return _Effects(better - than, rounding, is_constant, resolution)
    for arm, values in zip(arms, (better, than), strict=True):
        least = (paired.values[arm] if claim.across == "mean" else values).min()
        if least <= 0:
            raise CannotBeTestedError(
                f"a ratio needs values above 0; {quantity(claim)} of arm {arm!r} has {least:.4g}"
            )
    logarithms = np.log(better) - np.log(than)
    rounding = ROUNDING_UNITS * (np.abs(np.log(size)) + 1)
    if claim.reading != "largest-usable":
        # A step of a value is, of its logarithm, that step divided by the value.
        resolution = resolution / np.minimum(better, than).min(axis=0)
    return _Effects(logarithms, rounding, is_constant | _agree(logarithms, rounding), resolution)


def _from_value(claim: ClaimSettings, paired: PairedValues, value: float) -> _Effects:
    """Return how far each seed's value lies above a number."""
    found = paired.values[claim.better]
    size = np.maximum(np.abs(found).max(axis=(0, 1)), abs(value))
    effects, rounding = combined(claim, found) - value, ROUNDING_UNITS * size
    resolution = np.full_like(size, paired.resolution)
    return _Effects(effects, rounding, _agree(effects, rounding), resolution)


def _agree(effects: Array, rounding: Array) -> NDArray[np.bool_]:
    agree: NDArray[np.bool_] = np.ptp(effects, axis=0) <= 2 * rounding
    return agree


def _slopes(claim: ClaimSettings, paired: PairedValues) -> _Effects:
    """Return each seed's slope along the grid, other grid keys averaged over."""
    assert claim.along is not None
    places = [point[claim.along] for point in paired.points]
    if any(isinstance(place, bool) or not isinstance(place, int | float) for place in places):
        raise CannotBeTestedError(f"the values of {claim.along} are not numbers")
    if claim.scale == "log" and min(places) <= 0:
        raise CannotBeTestedError(f"the values of {claim.along} are not above 0: no logarithm")
    different = sorted(set(places))
    if len(different) < 2:
        raise CannotBeTestedError(f"{claim.along} has one value only, so there is no slope")
    x = np.array(different, dtype=np.float64)
    x = np.log(x) if claim.scale == "log" else x
    values = paired.values[claim.better]
    size = np.abs(values).max()
    if claim.than is not None:
        size = max(size, np.abs(paired.values[claim.than]).max())
        values = values - paired.values[claim.than]
    rows = np.array(places)
    y = np.stack([values[:, rows == place, 0].mean(axis=1) for place in different], axis=1)
    centred = x - x.mean()
    squares = centred @ centred
    slopes = least_squares_slopes(x, y)[:, None]
    rounding = np.array([ROUNDING_UNITS * size * np.abs(centred).sum() / squares])
    resolution = np.array([paired.resolution / math.sqrt(squares)])
    return _Effects(slopes, rounding, _agree(slopes, rounding), resolution)


def _side_and_distance(
    claim: ClaimSettings, mean: Array, rounding: Array
) -> tuple[NDArray[np.int64], Array]:
    """Return on which side each mean lies, and how far it is from that side's boundary.

    Side 0 means that the effect is within ∓margin, where a difference does not count.
    """
    margin = claim.margin or 0.0
    sign = 1.0 if claim.favours == "higher" else -1.0
    match claim.kind:
        case "ratio-at-least":
            assert claim.factor is not None
            distance = mean - math.log(claim.factor)
        case "equivalent":
            distance = margin - np.abs(mean)
        case "non-inferior":
            distance = sign * mean + margin
        case "which-is-better":
            distance = np.maximum(np.abs(mean) - margin, 0.0)
        case _:
            beyond = np.maximum(np.abs(mean) - margin, 0.0)
            distance = np.sign(sign * mean) * beyond
    distance = np.where(
        np.abs(distance) > np.maximum(rounding, ROUNDING_UNITS * margin), distance, 0
    )
    return np.sign(distance).astype(np.int64), distance


def _over_checkpoints(
    claim: ClaimSettings, estimate: MeanEstimate, sides: NDArray[np.int64], distance: Array
) -> tuple[int, int, float]:
    """Return the checkpoint that decides, its side, and the claim's p value.

    Intersection-union: the claim is supported if it is so at every checkpoint, so its p is the
    largest. For a refutation one checkpoint is enough, and Bonferroni pays for looking at all.
    """
    p = two_sided_p(distance, estimate.standard_error, estimate.n)
    against = np.flatnonzero(sides < 0)
    if len(against):
        worst = int(against[np.argmin(p[against])])
        return worst, -1, min(1.0, float(p[worst]) * len(p))
    sign = 1.0 if claim.favours == "higher" else -1.0
    weakest = int(np.lexsort((sign * estimate.mean, -p))[0])
    return weakest, int(sides[weakest]), float(p[weakest])


def _shown(claim: ClaimSettings, value: float) -> float:
    """Return an effect as the verdict shows it: a ratio, where logarithms were averaged."""
    if claim.is_ratio:
        return math.exp(min(float(value), LARGEST_LOGARITHM))
    return float(value)


def _bootstrap(claim: ClaimSettings, effects: Array) -> tuple[float, float] | None:
    interval = bca_interval(effects)
    return interval and (_shown(claim, interval[0]), _shown(claim, interval[1]))
