"""The value of a metric at a checkpoint of a trial, and what stands for it after divergence."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from bnkit.lab.store.schema import TrialRecord
from bnkit.lab.study.claim_settings import ACCURACIES
from bnkit.lab.study.statistics import ROUNDING_UNITS, Array

LOSSES = frozenset({"train loss", "test loss"})


class Checkpoint(NamedTuple):
    """Where a trial is read: at an optimizer step, at the end of an epoch, or (both None) last."""

    epoch: int | None = None
    step: int | None = None


LAST = Checkpoint()


class Series(NamedTuple):
    """One value per checkpoint: a metric, of one layer and key where it is recorded per these."""

    metric: str
    layer: str | None = None
    key: str | None = None

    @property
    def place(self) -> str:
        """Layer and key in words: "layer conv1, key 50"; empty for one value per checkpoint."""
        parts = (("layer", self.layer), ("key", self.key))
        return ", ".join(f"{word} {value}" for word, value in parts if value is not None)

    @property
    def name(self) -> str:
        """The series in words: "gradient norm of layer conv1, key 50"."""
        return f"{self.metric} of {self.place}" if self.place else self.metric


class Reading(NamedTuple):
    """A value that can be used, or why there is none.

    Attributes:
        value: a finite number; None if the trial cannot be used.
        is_measured: False for what stands for a diverged trial.
        problem: why there is no value, as a clause about the trial.
        bound: 1 if all that is known is that the truth lies beyond `value`, −1 if it lies below.
    """

    value: float | None
    is_measured: bool = True
    problem: str = ""
    bound: int = 0


class Curve(NamedTuple):
    """A trial's values at its checkpoints, the untrained network's included.

    From its divergence on, a trial's values are what stands for it.

    Attributes:
        steps, epochs: where, shape (T,), ascending; epochs are fractions: steps / steps per epoch.
        values: finite, shape (T,).
        is_whole: whether the curve goes to the end of training.
    """

    steps: Array
    epochs: Array
    values: Array
    is_whole: bool


class MetricValues:
    """All values of one metric, by trial and optimizer step.

    A diverged trial has values up to its `diverged_step`. From there on, and at checkpoints it
    never reached, an accuracy counts as chance, 1/K, and a loss as the untrained network's, a
    cross-entropy at least as chance, ln K. Which checkpoints it would have reached is read off the
    trials that train equally long.

    Attributes:
        metric: the series in words.
        unit: unit of the metric.
        is_recorded: whether any trial recorded the series.
        others: the layers and keys that the metric was recorded for, if not for those asked for.
        last_epoch: the last epoch with a value in any trial, 0 if there is none.
    """

    def __init__(
        self,
        series: Series,
        trials: Iterable[TrialRecord],
        schedule_keys: Mapping[str, str],
        rows: Sequence[tuple[str, int, int, float]],
    ) -> None:
        self.metric = series.name
        self.unit = ""
        self.others: tuple[str, ...] = ()
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

    def curve(self, trial: TrialRecord, *, stops_at_divergence: bool = False) -> Curve | str:
        """Return the trial's curve, or why there is none, as a clause about the trial.

        From its divergence on it goes on with what stands for the trial, or stops there.
        """
        schedule, is_whole = self.schedule(trial)
        values = dict(self._values.get(trial.id, {}))
        if trial.diverged_step is not None:
            values = {step: value for step, value in values.items() if step < trial.diverged_step}
            if not stops_at_divergence:
                stand_in = self._after_divergence(trial)
                if stand_in.value is None:
                    return stand_in.problem
                later = [step for step in schedule if step > trial.diverged_step]
                values.update(dict.fromkeys([trial.diverged_step, *later], stand_in.value))
        if not any(step > 0 for step in values):
            return f"has no {self.metric}"
        steps = np.array(sorted(values), dtype=np.float64)
        found = np.array([values[step] for step in sorted(values)], dtype=np.float64)
        if not np.isfinite(found).all():
            return f"has a {self.metric} that is not finite"
        is_whole = is_whole or trial.status == "complete"
        # A trial that diverged before any checkpoint is in epoch 1.
        per_epoch = _steps_per_epoch(schedule) or steps[-1]
        return Curve(steps, steps / per_epoch, found, is_whole)

    def epochs_of_checkpoints(self, trial: TrialRecord) -> list[float]:
        """Return where the trial's checkpoints are or would have been, in epochs, ascending."""
        schedule, _ = self.schedule(trial)
        per_epoch = _steps_per_epoch(schedule) or 1.0
        return [step / per_epoch for step in sorted(schedule)]

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
            if trial.classes is None:
                return Reading(None, problem="diverged, and its number of classes is not stored")
            return Reading(1 / trial.classes, is_measured=False)
        if self.metric not in LOSSES:
            return Reading(None, problem=f"diverged, and nothing stands for its {self.metric}")
        untrained = self._values.get(trial.id, {}).get(0, math.nan)
        is_cross_entropy = trial.spec.get("training", {}).get("loss") == "cross-entropy"
        if is_cross_entropy and trial.classes is not None:
            # A network that starts trained must not gain by diverging: ln K is the loss of chance.
            untrained = max(untrained, math.log(trial.classes))
        problem = f"diverged, and its untrained network's {self.metric} is not known"
        return _finite(untrained, problem)._replace(is_measured=False)


def metric_values(
    wanted: Iterable[Series], trials: Sequence[TrialRecord], metrics: pl.DataFrame
) -> dict[Series, MetricValues]:
    """Return the values of each series.

    Args:
        wanted: metrics, layers and keys; a series that was not recorded has no values.
        trials: the study's trials.
        metrics: long form, with the trial's id in the column `trial`.
    """
    series = sorted(set(wanted), key=str)
    is_mine = pl.col("metric").is_in(sorted({each.metric for each in series}))
    table = (
        metrics.lazy()
        .filter(is_mine & pl.col("trial").is_in([t.id for t in trials]))
        .select("metric", "layer", "key", "unit", "trial", "step", "epoch", "value")
        .collect()
    )
    rows: dict[Series, list[tuple[str, int, int, float]]] = {each: [] for each in series}
    units: dict[str, str] = {}
    recorded: dict[str, dict[str, None]] = {}
    for metric, layer, key, unit, trial, step, epoch, value in table.iter_rows():
        units.setdefault(metric, unit or "")
        own = Series(metric, layer, key)
        if own in rows:
            rows[own].append((trial, step, epoch, math.nan if value is None else value))
        else:
            recorded.setdefault(metric, {})[own.place or "no layer"] = None
    keys = {trial.id: _schedule_key(trial) for trial in trials}
    found = {}
    for each in series:
        found[each] = MetricValues(each, trials, keys, rows[each])
        found[each].unit = units.get(each.metric, "")
        if not rows[each]:
            found[each].others = tuple(recorded.get(each.metric, ()))
    return found


def grid_key(grid: Mapping[str, object]) -> str:
    """Return a text that equal grid points share."""
    return json.dumps(grid, sort_keys=True, default=str)


def _finite(value: float, problem: str) -> Reading:
    return Reading(value) if math.isfinite(value) else Reading(None, problem=problem)


def _steps_per_epoch(schedule: Mapping[int, int]) -> float:
    """Return the steps per epoch of checkpoints step → epoch; 0 if there are none.

    A checkpoint's epoch is its step / steps per epoch, rounded up: none has a larger quotient
    step / epoch than the steps per epoch, and one at the end of an epoch has just that.
    """
    return max((step / epoch for step, epoch in schedule.items() if epoch > 0), default=0.0)


def _schedule_key(trial: TrialRecord) -> str:
    """Return a text that trials share whose checkpoints fall on the same steps."""
    training = trial.spec.get("training", {})
    keys = ("epochs", "steps", "validate_every", "accumulate")
    length = {key: training.get(key) for key in keys}
    return grid_key({"data": trial.spec.get("data"), **length})
