"""Probes over one training: which are due, what they see, what they recorded."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from bnkit.inspection.preserve import preserve
from bnkit.inspection.trace import uncompiled
from bnkit.lab.probes.choice import unit_of
from bnkit.lab.probes.moment import Moment
from bnkit.lab.probes.objective import Examples, Objective
from bnkit.lab.probes.probe import Measured, Probe
from bnkit.lab.probes.probed_step import Gradient, ProbedStep, copied_parameters
from bnkit.lab.probes.ranks import ranks_of
from bnkit.lab.probes.step_start import StepStart
from bnkit.lab.store import MetricRow
from bnkit.lab.training.observer import Observer, StepPlace

_START = StepPlace(0, 0)


class Session(Observer):
    """Runs probes in a training loop, and leaves no mark on it.

    The loop calls `start` once, for each step `begin`, `before_update` (after the backward, before
    the optimizer's step) and `after_update`, and `finish` once. Training goes on as if no probe
    were there: parameters, buffers, gradients, modes and random state are equal to the last bit.

    Attributes:
        rows: what was recorded, in order.
        never_due: the probes that ran at no time, known after `finish`.
        without_records: those that ran and recorded nothing, known after `finish`.

    Args:
        network: the module that the loop calls; it may be wrapped by DistributedDataParallel or
            torch.compile.
        probes: prepared on the network as it was built.
        objective: how the loop runs the network on a batch.
        held_out, training: examples for the probes that need them.
    """

    def __init__(
        self,
        network: nn.Module,
        probes: Sequence[Probe],
        objective: Objective,
        *,
        held_out: Examples | None = None,
        training: Examples | None = None,
    ) -> None:
        self.called, self.network = network, unwrapped(network)
        self.ranks = ranks_of(network)
        self.probes, self.objective = list(probes), objective
        self.held_out, self.training = held_out, training
        self.rows: list[MetricRow] = []
        self.never_due: list[Probe] = []
        self.without_records: list[Probe] = []
        self._recorded: set[int] = set()
        self._measured: set[int] = set()
        self._place = _START
        self._due: list[Probe] = []
        self._start: StepStart | None = None
        self._step: ProbedStep | None = None
        self._seconds: list[float] = []
        self._timed: dict[int, int] = {}  # probe → how many of these it has seen
        self._is_plain: dict[tuple[float, ...], bool] = {}
        self._began = 0.0

    def start(self) -> None:
        """Measure the untrained network."""
        self._measure(self._probes(_START, steps=False), _START)

    def begin(self, place: StepPlace) -> None:
        """Begin a step: call it before the first forward."""
        self._place = place
        self._due = self._probes(place, steps=True)
        if self._due:
            self._start = StepStart(self.network, self.called)
        self._began = time.perf_counter()

    def before_update(
        self,
        batches: Sequence[Any],
        learning_rate: float,
        *,
        is_plain_gradient: bool,
        loss: float | None = None,
    ) -> None:
        """Look at a step between its backward and its update.

        Args:
            batches: of the step, as the objective takes them.
            learning_rate: of the first parameter group.
            is_plain_gradient: whether `.grad` holds the mean gradient over the examples, not
                clipped, not scaled, without weight decay.
            loss: of the step, where the loop knows it.
        """
        if self._start is None:
            return
        paused = time.perf_counter()
        plain = self.gradients() if is_plain_gradient else None
        self._step = self._probed_step(batches, learning_rate, plain, loss)
        if any("update" in probe.needs for probe in self._due):
            self._step.weights = copied_parameters(self.network)
        self._measure(self._due_between(), self._place, self._step)
        self._began += time.perf_counter() - paused

    def after_update(self) -> None:
        """End a step: call it after the optimizer's step."""
        self._seconds.append(time.perf_counter() - self._began)
        if self._step is not None:
            self._step.updated()
            self._measure(self._due_after(), self._place, self._step)
        self._end_step()
        self._measure(self._probes(self._place, steps=False), self._place)

    @property
    def is_probed(self) -> bool:
        """Whether a probe watches the step that has begun."""
        return self._start is not None

    def look_back(
        self,
        batches: Sequence[Any],
        learning_rate: float | None,
        weights: dict[str, Tensor] | None,
        *,
        plain_gradient: Gradient | None = None,
    ) -> None:
        """End a step that was not seen between its backward and its update.

        Args:
            batches: of the step.
            learning_rate: of the first parameter group, at the update.
            weights: a copy of the parameters before the update; not None if a probe watches.
            plain_gradient: what may be the step's plain gradient: it is computed again the first
                time that its batches have these shares of the examples (a last, shorter step of an
                epoch may be scaled otherwise), and taken as given from then on if it was.
        """
        self._seconds.append(time.perf_counter() - self._began)
        if self._start is not None and weights is not None:
            self._step = self._probed_step(batches, learning_rate, None, None)
            shares = tuple(self._step.shares())
            if self._is_plain.get(shares) and plain_gradient is not None:
                self._step = self._probed_step(batches, learning_rate, plain_gradient, None)
            self._step.weights = weights
            self._step.updated()
            with self._guarded(), self._step.before_update():
                if shares not in self._is_plain and plain_gradient is not None:
                    self._is_plain[shares] = self._step.agrees(plain_gradient)
                self._measure(self._due_between(), self._place, self._step)
            self._measure(self._due_after(), self._place, self._step)
        self._end_step()
        self._measure(self._probes(self._place, steps=False), self._place)

    def end_epoch(self, place: StepPlace) -> None:
        """Measure what is due at the end of an epoch that no step was known to end."""
        due = [p for p in self._probes(place, steps=False) if p.when.moment]
        self._measure([p for p in due if p.when.moment in ("epoch", "checkpoint")], place)

    def finish(self, place: StepPlace | None = None) -> None:
        """End the training: probes of its end run now, if they have not, and all conclude.

        Args:
            place: the last step; None for the one that has begun.
        """
        self._end_step()
        self._place = place or self._place
        late = [
            probe
            for probe in self._probes(self._place._replace(is_last=True), steps=False)
            if probe.when.moment == "end" and id(probe) not in self._measured
        ]
        self._measure(late, self._place)
        for probe in self.probes:
            if id(probe) in self._measured:
                self._record(probe, self._place, probe.conclude())
        self.never_due = [p for p in self.probes if id(p) not in self._measured]
        ran = self._measured - self._recorded
        self.without_records = [p for p in self.probes if id(p) in ran]

    def abandon(self) -> None:
        """Forget a step that was not finished."""
        self._end_step()

    def gradients(self) -> Gradient:
        """Return name → `.grad` of the parameters that have one."""
        named = self.network.named_parameters()
        return {name: each.grad for name, each in named if each.grad is not None}

    def _probed_step(
        self,
        batches: Sequence[Any],
        learning_rate: float | None,
        plain_gradient: Gradient | None,
        loss: float | None,
    ) -> ProbedStep:
        assert self._start is not None
        self._start.close()
        return ProbedStep(
            self.network,
            self.objective,
            batches,
            self._start,
            learning_rate=learning_rate,
            plain_gradient=plain_gradient,
            loss=loss if loss is None else self.ranks.mean([loss])[0],
            ranks=self.ranks,
        )

    def _due_between(self) -> list[Probe]:
        return [probe for probe in self._due if "update" not in probe.needs]

    def _due_after(self) -> list[Probe]:
        return [probe for probe in self._due if "update" in probe.needs]

    def _end_step(self) -> None:
        if self._start is not None:
            self._start.close()
        self._start = self._step = None
        self._due = []

    def _probes(self, place: StepPlace, *, steps: bool) -> list[Probe]:
        return [p for p in self.probes if p.needs_step == steps and p.when.is_due(place)]

    def _measure(
        self, probes: Sequence[Probe], place: StepPlace, step: ProbedStep | None = None
    ) -> None:
        if not probes:
            return
        for probe in probes:
            with self._guarded():
                found = list(probe.measure(self._moment(probe, place, step)))
            self._record(probe, place, found)
            self._measured.add(id(probe))
            self._timed[id(probe)] = len(self._seconds)

    def _moment(self, probe: Probe, place: StepPlace, step: ProbedStep | None) -> Moment:
        return Moment(
            self.network,
            place,
            self.objective,
            held_out=self.held_out,
            training=self.training,
            step=step,
            step_seconds=tuple(self._seconds[self._timed.get(id(probe), 0) :]),
        )

    def _record(self, probe: Probe, place: StepPlace, found: Iterable[Measured]) -> None:
        rows = list(found)
        if rows:
            self._recorded.add(id(probe))
        values = self.ranks.mean([row.value for row in rows])
        if self.ranks.is_first:
            self.rows += [
                MetricRow(*place[:2], metric, value, unit_of(probe.kind, metric), layer, key)
                for (metric, _, layer, key), value in zip(rows, values, strict=True)
            ]

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        with preserve(self.network, copy_parameters=False), uncompiled():
            yield


def unwrapped(network: nn.Module) -> nn.Module:
    """Return the module within DistributedDataParallel and torch.compile, whose weights it has."""
    while True:
        if isinstance(network, nn.parallel.DistributedDataParallel | nn.DataParallel):
            network = network.module
        elif isinstance(inner := getattr(network, "_orig_mod", None), nn.Module):
            network = inner
        else:
            return network
