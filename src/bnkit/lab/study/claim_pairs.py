"""The two arms of a claim, paired by seed and grid point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnkit.lab.store.schema import TrialRecord
from bnkit.lab.study.claim_equal_losses import LossesCompared, read_at_equal_loss
from bnkit.lab.study.claim_quantity import target_words
from bnkit.lab.study.claim_rates import (
    RatesCannotBeReadError,
    log_step,
    other_points,
    rates_of,
    read_rates,
)
from bnkit.lab.study.claim_readings import read, resolution
from bnkit.lab.study.claim_settings import ClaimSettings
from bnkit.lab.study.claim_values import LAST, Checkpoint, MetricValues, Reading, grid_key
from bnkit.lab.study.statistics import Array

MOST_PLACES_NAMED = 4


class CannotBeTestedError(Exception):
    """Why a claim cannot be tested; the text becomes the verdict's reason. Never leaves `judge`."""


@dataclass(frozen=True)
class PairedValues:
    """What a claim compares: every seed that can be used, in both arms.

    Attributes:
        values: arm → shape (seeds, grid points, checkpoints); `better` first.
        seeds: the seeds, ascending.
        points: the grid points.
        checkpoints: the checkpoints.
        epochs: the epochs that the trials end at, for checkpoint `LAST`.
        left_out: one clause per seed that cannot be used.
        resolution: smallest step between different values in these trials; for rates, of their
            logarithms.
        bounds: arm → shape of `values`: 1 where the truth lies beyond the value, −1 where it lies
            below, 0 where the value is the truth.
        rates: for `largest-usable`: the values of the grid that it runs along, ascending.
    """

    values: Mapping[str, Array]
    seeds: tuple[int, ...]
    points: tuple[Mapping[str, Any], ...]
    checkpoints: tuple[Checkpoint, ...]
    epochs: tuple[int, ...]
    left_out: tuple[str, ...]
    resolution: float
    bounds: Mapping[str, NDArray[np.int64]]
    rates: tuple[float, ...] = ()


def trials_of(claim: ClaimSettings, trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trials that a claim speaks of: its arms, at its grid point."""
    return [
        trial
        for trial in trials
        if trial.arm in (claim.better, claim.than)
        and all(key in trial.grid and trial.grid[key] == claim.where[key] for key in claim.where)
    ]


def pair(
    claim: ClaimSettings,
    trials: Sequence[TrialRecord],
    recorded: MetricValues,
    losses: LossesCompared | None = None,
) -> PairedValues:
    """Return the values of both arms (of one, for a trend of one arm) that have a partner.

    A seed counts if both arms have a trial of it at every grid point and each has a value. At least
    one value must have been measured: arms that diverged throughout are not compared.

    Args:
        claim: what is claimed.
        trials: those that it speaks of.
        recorded: the values of its series.
        losses: what arms are compared at, for `at-equal-loss`.

    Raises:
        CannotBeTestedError: there is nothing to compare.
    """
    arms = [claim.better, *([claim.than] if claim.than is not None else [])]
    points = {grid_key(trial.grid): trial.grid for trial in trials}
    paired = _paired_trials(claim, arms, trials, points, recorded)
    used = [trial for rows in paired.values() for row in rows for trial in row]
    complete = [trial for trial in used if trial.status == "complete"]
    checkpoints = _checkpoints(claim, used, recorded)
    readings, left_out = _read(claim, arms, paired, checkpoints, recorded, losses)
    kept = list(readings.values())
    values = np.array([[[[r.value for r in t] for t in row] for row in rows] for rows in kept])
    bounds = np.array([[[[r.bound for r in t] for t in row] for row in rows] for rows in kept])
    is_rate = claim.reading == "largest-usable"
    return PairedValues(
        values={arm: values[:, index].astype(np.float64) for index, arm in enumerate(arms)},
        seeds=tuple(readings),
        points=other_points(claim, points.values()) if is_rate else tuple(points.values()),
        checkpoints=checkpoints,
        epochs=tuple(sorted({recorded.last_epoch_of(trial) for trial in complete} - {0})),
        left_out=tuple(left_out),
        resolution=log_step(claim, used) if is_rate else resolution(claim, trials, recorded),
        bounds={arm: bounds[:, index] for index, arm in enumerate(arms)},
        rates=rates_of(claim, used) if is_rate else (),
    )


def _paired_trials(
    claim: ClaimSettings,
    arms: Sequence[str],
    trials: Sequence[TrialRecord],
    points: Mapping[str, Mapping[str, Any]],
    recorded: MetricValues,
) -> dict[int, list[list[TrialRecord]]]:
    """Return seed → arms × grid points, for the seeds that have all of them."""
    present = {trial.arm for trial in trials}
    for arm in arms:
        if arm not in present:
            raise CannotBeTestedError(f"arm {arm!r} has no trials" + _place(claim))
    _check_recorded(claim, recorded)
    table = {(trial.arm, trial.seed, grid_key(trial.grid)): trial for trial in trials}
    by_seed = {
        seed: [[table.get((arm, seed, point)) for point in points] for arm in arms]
        for seed in sorted({trial.seed for trial in trials})
    }
    paired = {
        seed: [[trial for trial in row if trial is not None] for row in rows]
        for seed, rows in by_seed.items()
        if all(trial is not None for row in rows for trial in row)
    }
    if not paired:
        raise CannotBeTestedError(_no_pairs(arms, points))
    return paired


_Readings = list[list[list[Reading]]]


def _read(
    claim: ClaimSettings,
    arms: Sequence[str],
    paired: Mapping[int, list[list[TrialRecord]]],
    checkpoints: tuple[Checkpoint, ...],
    recorded: MetricValues,
    losses: LossesCompared | None,
) -> tuple[dict[int, _Readings], list[str]]:
    """Return seed → arms × grid points × checkpoints, and why other seeds are left out."""
    kept = {}
    left_out = []
    for seed, rows in paired.items():
        if claim.reading == "largest-usable":
            try:
                readings = [[[rate] for rate in read_rates(claim, row)] for row in rows]
            except RatesCannotBeReadError as error:
                raise CannotBeTestedError(str(error)) from None
        elif losses is not None:
            both = [
                read_at_equal_loss(better, than, recorded, losses)
                for better, than in zip(rows[0], rows[1], strict=True)
            ]
            readings = [[[two[arm]] for two in both] for arm in range(len(arms))]
        else:
            readings = [
                [[read(claim, t, c, recorded) for c in checkpoints] for t in row] for row in rows
            ]
        problem = _first_problem(arms, readings)
        if problem:
            left_out.append(f"seed {seed}, where {problem}")
        else:
            kept[seed] = readings
    if not kept:
        raise CannotBeTestedError(_all_left_out(claim, left_out, recorded))
    found = (r for rows in kept.values() for row in rows for trial in row for r in trial)
    if not any(reading.is_measured for reading in found):
        raise CannotBeTestedError(_nothing_measured(claim))
    return kept, left_out


def _first_problem(arms: Sequence[str], readings: list[list[list[Reading]]]) -> str:
    for arm, row in zip(arms, readings, strict=True):
        for trial in row:
            for reading in trial:
                if reading.value is None:
                    return f"arm {arm!r} {reading.problem}"
    return ""


def _checkpoints(
    claim: ClaimSettings, trials: Sequence[TrialRecord], recorded: MetricValues
) -> tuple[Checkpoint, ...]:
    if claim.kind != "at-every-checkpoint":
        return (LAST,) if claim.at_epoch is None else (Checkpoint(epoch=claim.at_epoch),)
    first = claim.from_epoch or 1
    schedules = [recorded.schedule(trial) for trial in trials]
    whole = [
        {step: epoch for step, epoch in schedule.items() if epoch >= first}
        for schedule, is_whole in schedules
        if is_whole
    ]
    if not whole:
        raise CannotBeTestedError("every trial diverged, so no checkpoints are known")
    fits = all(
        step in whole[0]
        for schedule, _ in schedules
        for step in schedule
        if schedule[step] >= first
    )
    if fits and all(schedule == whole[0] for schedule in whole):
        found = [Checkpoint(epoch, step) for step, epoch in sorted(whole[0].items())]
    else:
        # Trials of different batch size or length are compared at the ends of common epochs.
        common = set.intersection(*(set(schedule.values()) for schedule in whole))
        found = [Checkpoint(epoch=epoch) for epoch in sorted(common)]
    if not found:
        raise CannotBeTestedError(
            f"no checkpoint from epoch {first} on; the last is in epoch {recorded.last_epoch}"
        )
    return tuple(found)


def _check_recorded(claim: ClaimSettings, recorded: MetricValues) -> None:
    if recorded.is_recorded or claim.reading == "largest-usable":
        return
    if not recorded.others:
        raise CannotBeTestedError(f"{recorded.metric!r} was not recorded")
    named = "; ".join(recorded.others[:MOST_PLACES_NAMED])
    more = len(recorded.others) - MOST_PLACES_NAMED
    named += f"; and {more} more" if more > 0 else ""
    if claim.layer is not None or claim.key is not None:
        raise CannotBeTestedError(f"{recorded.metric!r} was not recorded; there are {named}")
    raise CannotBeTestedError(
        f"{claim.metric!r} was recorded per layer or key, not as one value per checkpoint; "
        f"the claim must say which: {named}"
    )


def _nothing_measured(claim: ClaimSettings) -> str:
    if claim.reading == "epochs-to-target":
        return f"{target_words(claim)} in no trial"
    if claim.reading == "largest-usable":
        return f"the smallest {claim.along} of the grid diverges already, in every seed"
    return "every trial had diverged, so nothing measured is left to compare"


def _all_left_out(claim: ClaimSettings, left_out: Sequence[str], recorded: MetricValues) -> str:
    if claim.at_epoch is not None and claim.at_epoch > recorded.last_epoch:
        return f"epoch {claim.at_epoch} was not reached; the last is epoch {recorded.last_epoch}"
    if len(left_out) == 1:
        return f"left out: {left_out[0]}"
    return f"all {len(left_out)} seeds are left out: {left_out[0]}, and others"


def _no_pairs(arms: Sequence[str], points: Mapping[str, object]) -> str:
    if len(points) == 1:
        return f"no seed has trials of both {arms[0]!r} and {arms[-1]!r}"
    whose = "both arms" if len(arms) == 2 else f"arm {arms[0]!r}"
    return f"no seed has trials of {whose} at all {len(points)} grid points"


def _place(claim: ClaimSettings) -> str:
    if not claim.where:
        return ""
    return " at " + ", ".join(f"{key} = {value}" for key, value in claim.where.items())
