"""Probes in a user's own training loop."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import polars as pl
import torch
from torch import Tensor, nn

from bnkit.errors import ArgumentError, ArgumentTypeError, ProbeError
from bnkit.inspection.preserve import kept_random_state
from bnkit.lab.probes import Probe, Session
from bnkit.lab.probes.choice import as_table, make_prepared
from bnkit.lab.probes.objective import GivenExamples
from bnkit.lab.recording.loop_objective import Closure, LoopObjective, LossFunction
from bnkit.lab.recording.recorded_run import Recording, save_recording, stored_study
from bnkit.lab.recording.update_watch import UpdateWatch
from bnkit.lab.store import METRIC_SCHEMA, REPORT_FILE, MetricRow, read_study
from bnkit.lab.study.environment import machine, versions
from bnkit.lab.training.observer import StepPlace

ProbeLike = str | dict[str, Any] | Probe


class ScalarWriter(Protocol):
    """What TensorBoard's `SummaryWriter` is."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> Any:
        """Write one value."""


class Recorder:
    """Runs probes in a training loop, and leaves no mark on it.

        probes = [{"kind": "gradient-norms", "when": 100}]
        with Recorder(model, probes, loss=loss, optimizer=optimizer) as recorder:
            for batch in loader:
                optimizer.zero_grad()
                loss(model(batch[0]), batch[1]).backward()
                optimizer.step()
                recorder.step(batch)
        recorder.report("report.html")

    Call `step` once after every optimizer step, with the batches that the step was taken on.
    Weights, gradients, buffers, optimizer state and random numbers are as without it, to the last
    bit. Mixed precision, gradient accumulation, torch.compile and DistributedDataParallel may be in
    use: losses are taken again in the autocast that the step's forward ran in, and under
    DistributedDataParallel values are means over the ranks, recorded on rank 0.

    Args:
        model: the module that the loop calls, wrapped or not.
        probes: kinds (`bnkit.lab.PROBES`), tables such as `{"kind": "gradient-norms", "when": 100,
            "layers": "features.*"}`, or probes.
        loss: (output, target) → scalar, for batches (inputs, target).
        closure: (model, batch) → scalar, in place of `loss`, for any other batch or loss.
        optimizer: whose step the loop takes: tells the learning rate at that step.
        learning_rate: a number, or a function that returns it, where no optimizer is given.
        held_out: one batch (a tensor, a tuple, a mapping, a list of two tensors), or a list or
            loader of batches, for the probes that look at data not trained on; kept in memory.
        training: likewise of the data trained on.
        steps_per_epoch: optimizer steps of an epoch; without it there is one epoch, unless the loop
            calls `end_epoch`.
        out: folder to keep the recording in, as a study's; `arm` and `seed` tell several trainings
            in one folder apart.
        name: of the study that the folder holds.
        writer: `SummaryWriter` of TensorBoard, or what has its `add_scalar`; given every record.

    Raises:
        ProbeError: a probe, an option or a layer that does not exist.

    Cost: that of the probes at the steps when they are due. A probe that watches a step keeps one
    copy of the parameters while the step is taken; one that moves along the gradient a second one.
    """

    def __init__(
        self,
        model: nn.Module,
        probes: Iterable[ProbeLike] | ProbeLike,
        *,
        loss: LossFunction | None = None,
        closure: Closure | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        learning_rate: float | Callable[[], float] | None = None,
        held_out: Any = None,
        training: Any = None,
        steps_per_epoch: int | None = None,
        out: str | Path | None = None,
        arm: str = "model",
        seed: int = 0,
        name: str = "recording",
        writer: ScalarWriter | None = None,
    ) -> None:
        if loss is not None and closure is not None:
            raise ArgumentError("loss and closure are both given", required="one of them")
        if not isinstance(model, nn.Module):
            raise ArgumentTypeError(f"model is a {type(model).__name__}", required="a module")
        if optimizer is not None and not hasattr(optimizer, "register_step_pre_hook"):
            raise ArgumentTypeError(
                f"optimizer is a {type(optimizer).__name__}",
                required="an optimizer of torch.optim",
                remedy="For any other give learning_rate=, a number or a function",
            )
        self.objective = LoopObjective(loss, closure)
        chosen = [probes] if isinstance(probes, str | dict | Probe) else list(probes)
        self.session = Session(
            model,
            (),
            self.objective,
            held_out=_examples(held_out, self.objective),
            training=_examples(training, self.objective),
        )
        self.probes = [make_prepared(each, self.session.network) for each in chosen]
        self.session.probes = self.probes
        knows_rate = optimizer is not None or learning_rate is not None
        _check_needs(self.probes, self.session, self.objective, knows_rate=knows_rate)
        self.name, self.arm, self.seed = name, arm, seed
        self.out = None if out is None else Path(out)
        self._rate, self._optimizer = learning_rate, optimizer
        self._per_epoch, self._writer, self._written = steps_per_epoch, writer, 0
        self._place, self._epoch = StepPlace(0, 0), 1
        self._watch: UpdateWatch | None = None
        self._began, self._ended = time.perf_counter(), 0.0
        self._never_stepped = False
        self._notes: list[str] = []

    @property
    def rows(self) -> list[MetricRow]:
        """What was recorded, in order."""
        return self.session.rows

    def frame(self) -> pl.DataFrame:
        """Return the records: step, epoch, metric, layer, key, value, unit."""
        columns = {name: [getattr(row, name) for row in self.rows] for name in METRIC_SCHEMA}
        return pl.DataFrame(columns, schema=METRIC_SCHEMA)

    def __enter__(self) -> Self:
        self._began = time.perf_counter()
        self._watch = UpdateWatch(self.session, self._optimizer)
        self.session.start()
        self._write_scalars()
        self._begin()
        return self

    @property
    def is_open(self) -> bool:
        """Whether steps are recorded."""
        return self._watch is not None

    def begin(self) -> None:
        """Say that the next step begins now, where something drew random numbers since the last.

        Only loops that do not call the model itself need it, or that call it in training mode for
        something else: a call of the model says the same, but one in eval mode without gradients.
        """
        self._entered()
        self._begin(self._place.step - 1)

    def step(self, *batches: Any, loss: float | Tensor | None = None) -> None:
        """Say that the optimizer has taken a step.

        Args:
            batches: what it was taken on: one batch, or several where gradients were accumulated.
            loss: of the step, recorded as "train loss".

        Raises:
            ProbeError: a probe needs what the loop does not give, or the loss is no scalar.
        """
        watch = self._entered()
        place = self._place
        if self.session.is_probed and not batches:
            raise ProbeError(
                f"step {place.step} was given no batch",
                required="the batches that the optimizer's step was taken on",
                remedy="Call recorder.step(batch)",
            )
        rate, weights, gradient = watch.seen(batches)
        self.session.look_back(batches, self._learning_rate(rate), weights, plain_gradient=gradient)
        if loss is not None:
            value = loss.item() if isinstance(loss, Tensor) else loss
            self.log("train loss", value, unit="nat")
        self._write_scalars()
        self._begin()

    def log(self, metric: str, value: float, *, unit: str = "") -> None:
        """Record a number of the loop's own, at the last step taken."""
        if self.session.ranks.is_first:
            self.rows.append(MetricRow(self._place.step, self._epoch, metric, float(value), unit))

    def end_epoch(self) -> None:
        """Say that an epoch has ended, where `steps_per_epoch` was not given.

        Probes that look at the network at the end of epochs run now; those that watch a step do
        not: which step would be the last of its epoch was not known when it began.
        """
        self._entered()
        ended = self._place._replace(step=self._place.step - 1, ends_epoch=True, is_checkpoint=True)
        self.session.end_epoch(ended)
        self._epoch += 1
        self._write_scalars()
        self._begin(ended.step)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._watch is not None
        self._watch.close()
        taken = self._place.step - 1
        self._never_stepped = self._optimizer is not None and not self._watch.updates
        self.session.abandon()
        self._ended = time.perf_counter()
        if kind is not None:
            self._notes.append(f"The loop was left by {kind.__name__} after step {taken}.")
        else:
            self._finish(taken)
        self._watch = None
        self._write_scalars()
        if self.out is not None and self.session.ranks.is_first:
            self.save(self.out)

    def save(self, folder: str | Path) -> Path:
        """Write the recording as the folder of a study, and return it.

        Raises:
            StoreError: the folder holds another study, or cannot be written.
        """
        return save_recording(Path(folder), self._recording())

    def report(self, path: str | Path | None = None) -> Path:
        """Write the page, and return its path.

        Args:
            path: the HTML file; default `report.html` in the folder `out`, with all the trainings
                that lie there.

        Raises:
            StoreError: the page cannot be written.
        """
        from bnkit.lab.report import write_report

        if path is None and self.out is None:
            raise ArgumentError(
                "there is no folder to write the report into",
                required="report(path), or out= of the recorder",
            )
        if self.out is None:
            assert path is not None
            return write_report(stored_study(self._recording()), Path(path))
        self.save(self.out)
        return write_report(read_study(self.out), Path(path) if path else self.out / REPORT_FILE)

    def _recording(self) -> Recording:
        steps = max((row.step for row in self.rows), default=0)
        parameter = next(self.session.network.parameters(), torch.empty(0))
        return Recording(
            self.name,
            self.arm,
            self.seed,
            self.rows,
            [as_table(probe) for probe in self.probes],
            steps=steps,
            seconds=(self._ended or time.perf_counter()) - self._began,
            notes=tuple(self._notes),
            versions=versions(),
            machine=machine(str(parameter.device)),
        )

    def _begin(self, taken: int | None = None) -> None:
        """Begin the next step: what a probe needs of its start is kept from now on."""
        step = (self._place.step if taken is None else taken) + 1
        if self._per_epoch is not None:
            self._epoch = -(-step // self._per_epoch)
        ends = self._per_epoch is not None and step % self._per_epoch == 0
        self._place = StepPlace(step, self._epoch, ends_epoch=ends, is_checkpoint=ends)
        self.session.abandon()
        self.session.begin(self._place)
        assert self._watch is not None
        self._watch.begin()

    def _finish(self, taken: int) -> None:
        self.session.finish(self._place._replace(step=taken))
        for probe in self.session.never_due:
            note = f"The probe {probe.kind!r} ran at no time: it is due {probe.when}."
            self._notes.append(note)
            remedy = _never_due_remedy(probe, never_stepped=self._never_stepped)
            warnings.warn(f"{note} The loop took {taken} steps.{remedy}", stacklevel=3)
        for probe in self.session.without_records:
            note = f"The probe {probe.kind!r} ran, and found nothing to record."
            self._notes.append(note)
            places = ", ".join(place.path for place in probe.places)
            looked = f" It looked at {places}." if places else ""
            warnings.warn(f"{note}{looked}", stacklevel=3)

    def _learning_rate(self, seen: float | None) -> float | None:
        if seen is not None:
            return seen
        given = self._rate() if callable(self._rate) else self._rate
        return None if given is None else float(given)

    def _entered(self) -> UpdateWatch:
        if self._watch is None:
            raise ProbeError(
                "the recorder is not open",
                required="steps are recorded within `with Recorder(…) as recorder:`",
            )
        return self._watch

    def _write_scalars(self) -> None:
        if self._writer is None:
            return
        for row in self.rows[self._written :]:
            tag = "/".join(part for part in (row.metric, row.layer, row.key) if part)
            self._writer.add_scalar(tag, row.value, row.step)
        self._written = len(self.rows)


def _never_due_remedy(probe: Probe, *, never_stepped: bool) -> str:
    """Return what to do about a probe that ran at no time, where the loop can do something."""
    if not probe.needs_step:
        return ""
    if never_stepped:
        return " It watches the optimizer given to the recorder, and that took no step."
    if probe.when.moment in ("", "log"):
        return ""
    known = "" if probe.when.moment == "end" else ", or the recorder steps_per_epoch="
    return f' It watches a step: give it "when" in steps{known}.'


def _examples(given: Any, objective: LoopObjective) -> GivenExamples | None:
    """Return the batches given: one, or all that an iterable yields."""
    if given is None:
        return None
    is_pair = isinstance(given, list) and len(given) == 2
    is_pair = is_pair and all(isinstance(part, Tensor) for part in given)
    if is_pair or isinstance(given, Tensor | tuple | Mapping):
        return GivenExamples([given], objective)
    with kept_random_state():  # a loader that shuffles draws from the global generator
        return GivenExamples(list(given), objective)


def _check_needs(
    probes: Sequence[Probe], session: Session, objective: LoopObjective, *, knows_rate: bool
) -> None:
    """Refuse a probe that the loop cannot serve, before anything is trained."""
    given = {"held-out": session.held_out, "training": session.training}
    for probe in probes:
        for need, examples in given.items():
            if need in probe.needs and examples is None:
                argument = need.replace("-", "_")
                raise ProbeError(
                    f"it needs {need} examples, and the recorder was given none",
                    required=f"{argument}=, a batch or a list of batches",
                    where=f"probe {probe.kind}",
                )
        if "learning-rate" in probe.needs and not knows_rate:
            raise ProbeError(
                "it moves by multiples of the learning rate, and the recorder knows none",
                required="optimizer=, or learning_rate=",
                where=f"probe {probe.kind}",
            )
        if probe.needs_step and not objective.has_loss:
            raise ProbeError(
                "it takes the loss of a step again, and the recorder knows no loss",
                required="loss=function(output, target) or closure=function(model, batch)",
                where=f"probe {probe.kind}",
            )
