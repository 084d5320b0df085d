"""Two trials compared where their losses are equal, not where their steps are."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bnkit.lab.store.schema import TrialRecord
from bnkit.lab.study.claim_values import Checkpoint, MetricValues, Reading
from bnkit.lab.study.statistics import Array

BINS, FEWEST_BINS = 10, 3
SHARE_OF_INITIAL = 0.95


class LossesCompared(NamedTuple):
    """What trials are compared at.

    Attributes:
        loss: the series whose values are to be equal.
        train_loss: the series that tells the untrained network's loss.
    """

    loss: MetricValues
    train_loss: MetricValues


class _Descent(NamedTuple):
    """A trial's metric against its loss, at the steps that have the metric.

    Attributes:
        losses, values: shape (T,).
        initial: the untrained network's training loss; else the first loss of the curve.
    """

    losses: Array
    values: Array
    initial: float


def read_at_equal_loss(
    better: TrialRecord, than: TrialRecord, recorded: MetricValues, losses: LossesCompared
) -> tuple[Reading, Reading]:
    """Return one number per trial, whose ratio is that of the metric at equal losses.

    The losses that both trials have, from the larger of the two smallest to the smaller of the two
    largest, but at most 0.95 times the smaller initial loss, are cut into ten bins of equal width.
    Of each bin that both have values in, a trial gives the geometric mean of its values there; of
    all these bins, the geometric mean. Below 0.95 of the initial loss, because a network can stay
    on its first plateau with tiny gradients and look smooth. A metric at a step without a loss
    takes the loss from the line between the two beside it.

    Args:
        better, than: of one seed and grid point. One that diverged counts up to there.
        recorded: the metric.
        losses: what is to be equal.

    Source: studies.md, Comparing arms' landscapes.
    """
    descents = []
    for trial in (better, than):
        descent = _descent(trial, recorded, losses)
        if isinstance(descent, str):
            unusable, nothing = Reading(None, problem=descent), Reading(1.0)
            return (unusable, nothing) if trial is better else (nothing, unusable)
        descents.append(descent)
    means, common = binned_means(*descents)
    if common.sum() < FEWEST_BINS:
        found = int(common.sum())
        problem = f"shares {found} of {BINS} ranges of {losses.loss.metric} with arm {than.arm!r}"
        return Reading(None, problem=f"{problem}; a comparison needs {FEWEST_BINS}"), Reading(1.0)
    first, second = (float(np.exp(mean[common].mean())) for mean in means)
    return Reading(first), Reading(second)


def binned_means(better: _Descent, than: _Descent) -> tuple[list[Array], NDArray[np.bool_]]:
    """Return each trial's mean logarithm per bin, shape (BINS,), and which bins both have."""
    both = (better, than)
    low = max(float(each.losses.min()) for each in both)
    high = min(
        *(float(each.losses.max()) for each in both),
        SHARE_OF_INITIAL * min(each.initial for each in both),
    )
    means = []
    for each in both:
        mean = np.full(BINS, math.nan)
        if low < high:
            is_inside = (each.losses >= low) & (each.losses <= high)
            place = (each.losses[is_inside] - low) / (high - low) * BINS
            bins = np.minimum(place.astype(np.int64), BINS - 1)
            logarithms = np.log(each.values[is_inside])
            for index in np.unique(bins):
                mean[index] = logarithms[bins == index].mean()
        means.append(mean)
    return means, np.isfinite(means[0]) & np.isfinite(means[1])


def _descent(trial: TrialRecord, recorded: MetricValues, losses: LossesCompared) -> _Descent | str:
    metric = recorded.curve(trial, stops_at_divergence=True)
    loss = losses.loss.curve(trial, stops_at_divergence=True)
    for curve in (metric, loss):
        if isinstance(curve, str):
            return curve
    assert not isinstance(metric, str)
    assert not isinstance(loss, str)
    if metric.values.min() <= 0:
        return f"has a {recorded.metric} of {metric.values.min():.4g}; a ratio needs values above 0"
    is_between = (metric.steps >= loss.steps[0]) & (metric.steps <= loss.steps[-1])
    if not is_between.any():
        return f"has no {recorded.metric} at a step between two with a {losses.loss.metric}"
    untrained = losses.train_loss.at(trial, Checkpoint(step=0))
    initial = untrained.value if untrained.is_measured else None
    return _Descent(
        np.interp(metric.steps[is_between], loss.steps, loss.values),
        metric.values[is_between],
        float(loss.values[0]) if initial is None else initial,
    )
