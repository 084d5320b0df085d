"""The value of a metric at a checkpoint of a trial, and what stands for it after divergence."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from bnkit.lab.store.schema import TrialRecord
from bnkit.lab.study.statistics import ROUNDING_UNITS

ACCURACIES = frozenset({"train accuracy", "test accuracy"})
LOSSES = frozenset({"train loss", "test loss"})


class Checkpoint(NamedTuple):
    """Where a trial is read: at an optimizer step, at the end of an epoch, or (both None) last."""

    epoch: int | None = None
    step: int | None = None


LAST = Checkpoint()


class Reading(NamedTuple):
    """A value that can be used, or why there is none.

    Attributes:
        value: a finite number; None if the trial cannot be used.
        is_measured: False for what stands for a diverged trial.
        problem: why there is no value, as a clause about the trial.
    """

    value: float | None
    is_measured: bool = True
    problem: str = ""


class MetricValues:
    """All values of one metric, by trial and optimizer step.

    A diverged trial has values up to its `diverged_step`. From there on, and at checkpoints it
    never reached, an accuracy counts as chance, 1/K, and a loss as the untrained network's, a
    cross-entropy at least as chance, ln K. Which checkpoints it would have reached is read off the
    trials that train equally long.

    Attributes:
        unit: unit of the metric.
        is_recorded: whether any trial recorded the metric as one value per checkpoint.
        is_per_layer: whether it was recorded for layers or keys only.
        last_epoch: the last epoch with a value in any trial, 0 if there is none.
    """

    def __init__(
        self,
        metric: str,
        trials: Iterable[TrialRecord],
        schedule_keys: Mapping[str, str],
        rows: Sequence[tuple[str, int, int, float]],
    ) -> None:
        self.metric = metric
        self.unit = ""
        self.is_per_layer = False
        self._values: dict[str, dict[int, float]] = {}
        self._epochs: dict[str, dict[int, int]] = {}
        for trial, step, epoch, value in rows:
            self._values.setdefault(trial, {})[step] = value
            self._epochs.setdefault(trial, {})[step] = epoch
        self.is_recorded = bool(rows)
        self.last_epoch = max((epoch for _, _, epoch, _ in rows), default=0)
        # The checkpoints of all trials that train equally long, the untrained network's included.
        self._keys = schedule_keys
        self._schedules: dict[str, dict[int, int]] = {}
        self._has_complete: dict[str, bool] = {}
        for record in trials:
            key = schedule_keys[record.id]
            schedule = self._schedules.setdefault(key, {})
            own = self._epochs.get(record.id, {})
            schedule.update(own)
            whole = bool(own) and record.status == "complete"
            self._has_complete[key] = self._has_complete.get(key, False) or whole

    def schedule(self, trial: TrialRecord) -> tuple[Mapping[int, int], bool]:
        """Return step → epoch of the trial's checkpoints, and whether these are all.

        They are if a trial that trains equally long completed.
        """
        key = self._keys[trial.id]
        return self._schedules[key], self._has_complete[key]

    def last_epoch_of(self, trial: TrialRecord) -> int:
        """Return the epoch of the trial's last checkpoint, 0 if it has none."""
        return max(self._epochs.get(trial.id, {}).values(), default=0)

    def resolution(self, trials: Iterable[TrialRecord]) -> float:
        """Return the smallest step between different values of these trials; 0 if none differ.

        An accuracy on N images moves in steps of 1/N; a step this small of a loss is nothing.
        """
        recorded = [value for trial in trials for value in self._values.get(trial.id, {}).values()]
        values = np.unique(np.array(recorded, dtype=np.float64))
        values = values[np.isfinite(values)]
        if len(values) < 2:
            return 0.0
        with np.errstate(over="ignore"):
            steps = np.diff(values)
        steps = steps[steps > ROUNDING_UNITS * np.abs(values).max()]
        return float(steps.min()) if len(steps) else 0.0

    def at(self, trial: TrialRecord, checkpoint: Checkpoint) -> Reading:
        """Return the trial's value at a checkpoint."""
        step = self._step(trial, checkpoint)
        if trial.status == "diverged":
            assert trial.diverged_step is not None
            own = self._values.get(trial.id, {})
            if step is None or step >= trial.diverged_step or step not in own:
                return self._after_divergence(trial)
        if step is None:
            if checkpoint.epoch is not None:
                return Reading(None, problem=f"has no checkpoint in epoch {checkpoint.epoch}")
            return Reading(None, problem=f"has no {self.metric}")
        value = self._values.get(trial.id, {}).get(step)
        if value is None:
            return Reading(None, problem=f"has no {self.metric} at step {step}")
        return _finite(value, f"has a {self.metric} that is not finite")

    def _step(self, trial: TrialRecord, checkpoint: Checkpoint) -> int | None:
        if checkpoint.step is not None:
            return checkpoint.step
        is_diverged = trial.status == "diverged"
        if checkpoint.epoch is None:
            if is_diverged:  # no trial diverges after its last checkpoint
                return None
            return max((step for step in self._values.get(trial.id, {}) if step > 0), default=None)
        # A complete trial is read at its own checkpoints, a diverged one at those it should have.
        whole = self._schedules[self._keys[trial.id]]
        epochs = whole if is_diverged else self._epochs.get(trial.id, {})
        return max((step for step in epochs if epochs[step] == checkpoint.epoch), default=None)

    def _after_divergence(self, trial: TrialRecord) -> Reading:
        if self.metric in ACCURACIES:
            return Reading(1 / trial.classes, is_measured=False)
        if self.metric not in LOSSES:
            return Reading(None, problem=f"diverged, and nothing stands for its {self.metric}")
        untrained = self._values.get(trial.id, {}).get(0, math.nan)
        if trial.spec.get("training", {}).get("loss") == "cross-entropy":
            # A network that starts trained must not gain by diverging: ln K is the loss of chance.
            untrained = max(untrained, math.log(trial.classes))
        problem = f"diverged, and its untrained network's {self.metric} is not known"
        return _finite(untrained, problem)._replace(is_measured=False)


def metric_values(
    names: Iterable[str], trials: Sequence[TrialRecord], metrics: pl.DataFrame
) -> dict[str, MetricValues]:
    """Return the values of each named metric.

    Args:
        names: metrics; one that was not recorded has no values.
        trials: the study's trials.
        metrics: long form, with the trial's id in the column `trial`.
    """
    wanted = sorted(set(names))
    is_mine = pl.col("metric").is_in(wanted) & pl.col("trial").is_in([t.id for t in trials])
    is_whole = pl.col("layer").is_null() & pl.col("key").is_null()
    table = (
        metrics.lazy()
        .filter(is_mine)
        .select("metric", is_whole, "unit", "trial", "step", "epoch", "value")
        .collect()
    )
    rows: dict[str, list[tuple[str, int, int, float]]] = {name: [] for name in wanted}
    units: dict[str, str] = {}
    for metric, whole, unit, trial, step, epoch, value in table.iter_rows():
        units.setdefault(metric, unit or "")
        if whole:
            rows[metric].append((trial, step, epoch, math.nan if value is None else value))
    keys = {trial.id: _schedule_key(trial) for trial in trials}
    found = {name: MetricValues(name, trials, keys, rows[name]) for name in wanted}
    for metric, unit in units.items():
        found[metric].unit = unit
        found[metric].is_per_layer = not found[metric].is_recorded
    return found


def grid_key(grid: Mapping[str, object]) -> str:
    """Return a text that equal grid points share."""
    return json.dumps(grid, sort_keys=True, default=str)


def _finite(value: float, problem: str) -> Reading:
    return Reading(value) if math.isfinite(value) else Reading(None, problem=problem)


def _schedule_key(trial: TrialRecord) -> str:
    """Return a text that trials share whose checkpoints fall on the same steps."""
    training = trial.spec.get("training", {})
    keys = ("epochs", "steps", "validate_every", "accumulate")
    length = {key: training.get(key) for key in keys}
    return grid_key({"data": trial.spec.get("data"), **length})
