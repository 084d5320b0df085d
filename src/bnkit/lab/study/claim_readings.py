"""What one trial gives: its metric at a checkpoint, or a number of its whole curve."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bnkit.lab.store.schema import TrialRecord
from bnkit.lab.study.claim_settings import ClaimSettings
from bnkit.lab.study.claim_values import Checkpoint, Curve, MetricValues, Reading
from bnkit.lab.study.statistics import Array


def read(
    claim: ClaimSettings, trial: TrialRecord, checkpoint: Checkpoint, recorded: MetricValues
) -> Reading:
    """Return what the claim reads off a trial.

    Args:
        claim: names the reading; `last` reads the checkpoint, all others the whole curve.
        trial: whose.
        checkpoint: where `last` reads.
        recorded: the values of the claim's series.
    """
    if claim.reading == "last":
        return recorded.at(trial, checkpoint)
    if claim.reading == "epochs-to-target":
        return _epochs_to_target(claim, trial, recorded)
    curve = recorded.curve(trial)
    return (
        Reading(None, problem=curve)
        if isinstance(curve, str)
        else _of_whole(claim, trial, curve, recorded)
    )


def resolution(
    claim: ClaimSettings, trials: Sequence[TrialRecord], recorded: MetricValues
) -> float:
    """Return the smallest step between different readings, as far as the metric alone sets it.

    Epochs move from checkpoint to checkpoint, by the widest gap between two; all else moves in
    steps of the metric.
    """
    if claim.reading != "epochs-to-target":
        return recorded.resolution(trials)
    curves = [curve for t in trials if not isinstance(curve := recorded.curve(t), str)]
    return max((float(np.diff(c.epochs).max()) for c in curves if len(c.epochs) > 1), default=0.0)


def mean_over_training(steps: Array, values: Array) -> float:
    """Return the area under a curve divided by its length, by the trapezoid rule.

    Σ (sᵢ₊₁ − sᵢ) · (vᵢ + vᵢ₊₁) / 2 / (s_T − s₁); a single value is its own mean.

    Args:
        steps: ascending, shape (T,).
        values: shape (T,).
    """
    if len(steps) == 1:
        return float(values[0])
    return float(np.trapezoid(values, steps) / (steps[-1] - steps[0]))


def fluctuation(values: Array, *, wants_low: bool) -> float:
    """Return the sum of the steps for the worse: upward for a loss, downward for all else.

    Σ max(0, vᵢ₊₁ − vᵢ) or Σ max(0, vᵢ − vᵢ₊₁).

    Args:
        values: shape (T,).
        wants_low: whether low values are better.

    Source: studies.md, Definitions of the probes.
    """
    rises = np.diff(values) if wants_low else -np.diff(values)
    return float(np.maximum(rises, 0.0).sum())


def _of_whole(
    claim: ClaimSettings, trial: TrialRecord, curve: Curve, recorded: MetricValues
) -> Reading:
    # The end of the epoch before is where epoch `from_epoch` begins; it is no checkpoint of it.
    is_counted = curve.epochs > (claim.from_epoch or 0) - 1 + 1e-9
    if not is_counted.any():
        return Reading(None, problem=f"has no checkpoint from epoch {claim.from_epoch} on")
    if claim.reading == "area" and not curve.is_whole:
        problem = "diverged, and no trial of its length tells how long it would have trained"
        return Reading(None, problem=problem)
    value = _number(claim, curve, is_counted)
    if not math.isfinite(value):
        return Reading(None, problem=f"has values of {recorded.metric} too large to be added up")
    return Reading(value, is_measured=trial.status == "complete")


def _number(claim: ClaimSettings, curve: Curve, is_counted: NDArray[np.bool_]) -> float:
    steps, values = curve.steps[is_counted], curve.values[is_counted]
    with np.errstate(over="ignore", invalid="ignore"):
        if claim.reading == "area":
            return mean_over_training(steps, values)
        if claim.reading == "fluctuation":
            return fluctuation(values, wants_low=claim.wants_low_metric)
    trained = values[steps > 0]
    return float(trained.min() if claim.wants_low_metric else trained.max())


def _epochs_to_target(claim: ClaimSettings, trial: TrialRecord, recorded: MetricValues) -> Reading:
    """Return the epochs up to the first checkpoint at the target, or that it was never reached.

    Never reached counts as a bound: the checkpoint that would have followed the last. What has
    diverged reaches nothing any more, so its curve ends there.
    """
    assert claim.target is not None
    curve = recorded.curve(trial, stops_at_divergence=True)
    is_diverged = trial.status == "diverged"
    if isinstance(curve, str):
        if not is_diverged:
            return Reading(None, problem=curve)
    else:
        is_loss = claim.wants_low_metric
        reached = curve.values <= claim.target if is_loss else curve.values >= claim.target
        if reached.any():
            return Reading(float(curve.epochs[reached.argmax()]))
    own = [] if isinstance(curve, str) else list(curve.epochs)
    ends = recorded.epochs_of_checkpoints(trial) if is_diverged else own
    following = 2 * ends[-1] - ends[-2] if len(ends) > 1 else float(recorded.last_epoch)
    return Reading(following, is_measured=False, bound=1)
