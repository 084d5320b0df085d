"""One trial, whole: build, rewrite, train, store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bnkit.errors import BnkitError, NetworkError, TrialError
from bnkit.inspection.target import is_target, load_target
from bnkit.kernels.dispatch import AUTO, use_kernel
from bnkit.lab.data import Dataset
from bnkit.lab.networks import build_network, initialize, named_builder
from bnkit.lab.probes import Probe, Session, make_probes
from bnkit.lab.probes.objective import ClassifierObjective, SplitExamples
from bnkit.lab.store import MetricRow, TrialRecord, TrialStore
from bnkit.lab.study.arms import apply_arm, arm_notes
from bnkit.lab.study.environment import machine, versions
from bnkit.lab.study.random_state import seed_everything, seeded
from bnkit.lab.study.spec import PlannedTrial
from bnkit.lab.training import (
    Checkpoint,
    Computation,
    Loss,
    Split,
    TrainingRun,
    TrainingSettings,
    to_device,
    train,
)
from bnkit.rewrite import Rewrite

EXAMPLE_SIZE = 4

_METRICS = (
    ("train loss", "train_loss", "nat"),
    ("train accuracy", "train_accuracy", "share"),
    ("test loss", "test_loss", "nat"),
    ("test accuracy", "test_accuracy", "share"),
)


@dataclass(frozen=True)
class TrialJob:
    """What a process needs to train one trial.

    Attributes:
        id: the trial's id.
        trial: arm, seed, grid point, settings.
        builder: the function given from Python that builds the network; None if settings name it.
    """

    id: str
    trial: PlannedTrial
    builder: Callable[..., nn.Module] | None = None


def run_trial(
    job: TrialJob, dataset: Dataset, root: Path, on_step: Callable[[int], None]
) -> TrialRecord:
    """Train one trial and store it; the process's random state and threads are put back.

    Raises:
        BnkitError: a message for the user; anything that the user's network or loss raises while it
            trains becomes a `TrialError` that names the trial.
    """
    settings = job.trial.settings
    started = time.perf_counter()
    device = torch.device(settings.training.device)
    dtype = computation_of(job).data_dtype
    with repeatable(settings.training), seeded(job.trial.seed):
        try:
            train_split, test_split = to_device(dataset, device, dtype)
            built = build_arm(job, dataset, train_split.images[:EXAMPLE_SIZE])
            session = _session(job, built, train_split, test_split)
            # Again, so that what draws random numbers during training (dropout) starts alike
            # in all arms, whatever building and rewriting drew.
            seed_everything(job.trial.seed)
            run = train(
                built.rewrite.model,
                train_split,
                test_split,
                settings.training,
                batch_size=settings.data.batch_size,
                drop_last=settings.data.drop_last,
                seed=job.trial.seed,
                loss_function=loss_function(settings.training.loss),
                on_checkpoint=on_step,
                observer=session,
            )
        except BnkitError:
            raise
        except (Exception, SystemExit) as error:
            raise TrialError(
                f"raised {type(error).__name__}: {error}",
                required="network and loss must train on every batch of the data",
                remedy="Trials that had finished are kept; mend it and run again",
                where=f"arm {job.trial.arm!r}, seed {job.trial.seed}",
            ) from error
    arm = arm_notes(job.trial.arm, built.rewrite)
    notes = (*dataset.notes, *arm, *_stopping_notes(job, run), *_probe_notes(session))
    seconds = time.perf_counter() - started
    record = _record(job, dataset.classes, run.diverged_step, notes, seconds)
    TrialStore(root).save(record, [*_rows(run.checkpoints), *session.rows])
    return record


def _record(
    job: TrialJob, classes: int, diverged_step: int | None, notes: tuple[str, ...], seconds: float
) -> TrialRecord:
    settings = job.trial.settings
    return TrialRecord(
        id=job.id,
        arm=job.trial.arm,
        seed=job.trial.seed,
        grid=dict(job.trial.grid),
        spec=settings.model_dump(mode="json", exclude_none=True),
        classes=classes,
        status="complete" if diverged_step is None else "diverged",
        diverged_step=diverged_step,
        versions=versions(),
        machine=machine(settings.training.device),
        notes=notes,
        seconds=round(seconds, 3),
    )


def _stopping_notes(job: TrialJob, run: TrainingRun) -> Iterator[str]:
    if run.stopped_step is not None and run.diverged_step is None:
        point = "".join(f", {key} = {value}" for key, value in job.trial.grid.items())
        yield (
            f"Arm {job.trial.arm!r}{point}, seed {job.trial.seed}: stopped early at step "
            f"{run.stopped_step} of {run.checkpoints[-1].step}; its last values stand at the later "
            "checkpoints."
        )


def _session(job: TrialJob, built: BuiltArm, train_split: Split, test_split: Split) -> Session:
    objective = ClassifierObjective(
        loss_function(job.trial.settings.training.loss), computation_of(job)
    )
    return Session(
        built.rewrite.model,
        built.probes,
        objective,
        held_out=SplitExamples(test_split),
        training=SplitExamples(train_split, job.trial.settings.data.batch_size),
    )


def _probe_notes(session: Session) -> Iterator[str]:
    for probe in session.never_due:
        yield f"The probe {probe.kind!r} ran at no time: it is due {probe.when}."


def computation_of(job: TrialJob) -> Computation:
    """Return how a trial's forward runs: its dtype, device and memory format."""
    return Computation.of(job.trial.settings.training)


class BuiltArm(NamedTuple):
    """A trial's network, rewritten for its arm, and its probes.

    The probes chose their layers before the rewrite, so that all arms look at the same places.
    """

    rewrite: Rewrite
    probes: list[Probe]


def build_arm(job: TrialJob, dataset: Dataset, example: Tensor) -> BuiltArm:
    """Build the trial's network on the example's device and apply its arm's rewrite.

    Random numbers are drawn by the builder alone, so under one seed the weights that remain are
    equal in all arms bit for bit.
    """
    settings = job.trial.settings
    network = build_as_given(job, dataset, example)
    probes = make_probes(settings.probes, network)
    share = settings.norm_share or 1.0
    rewrite = apply_arm(network, settings.norm, example, settings.network.name, share)
    return BuiltArm(rewrite, probes)


def build_as_given(job: TrialJob, dataset: Dataset, example: Tensor) -> nn.Module:
    """Build the trial's network on the example's device, before its arm's rewrite.

    Its weights are drawn as `network.init` says; for float64 they are drawn in float32 and
    converted, so that all precisions start alike.
    """
    named = job.trial.settings.network
    builder = job.builder if job.builder is not None else _load_builder(named.name)
    network = build_network(builder, named.name, dataset.input_shape, dataset.classes, named.args)
    try:
        computation_of(job).convert(network.to(example.device))
    except (RuntimeError, NotImplementedError) as error:
        raise NetworkError(
            f"cannot be moved to {example.device} ({str(error).partition(chr(10))[0]})",
            required="its tensors must hold values",
            remedy="Build it on the CPU",
            where=f"network {named.name}",
        ) from error
    _materialize(network, example, named.name)
    initialize(network, named.init, named.name)
    return network


def loss_function(name: str) -> Loss:
    """Return the loss: cross-entropy on logits, or the user's function of (logits, labels)."""
    if name == "cross-entropy":
        return nn.functional.cross_entropy
    loss: Loss = load_target(name, Path.cwd())
    return loss


def _load_builder(name: str) -> Callable[..., nn.Module]:
    if not is_target(name):
        return named_builder(name)
    builder: Callable[..., nn.Module] = load_target(name, Path.cwd())
    return builder


def _materialize(network: nn.Module, example: Tensor, name: str) -> None:
    """Run a network with lazy modules once, so that its weights exist before they are read."""
    if not any(torch.nn.parameter.is_lazy(tensor) for tensor in network.parameters()):
        return
    try:
        with torch.no_grad():
            network.eval()(example)
    except (Exception, SystemExit) as error:
        raise NetworkError(
            f"raised {type(error).__name__} on data of shape {tuple(example.shape)}: {error}",
            required="it must take images of the data's shape",
            remedy="Build it from input_shape, or give data.image_size or data.colour",
            where=f"network {name}",
        ) from error


def _rows(checkpoints: list[Checkpoint]) -> Iterator[MetricRow]:
    for checkpoint in checkpoints:
        for metric, attribute, unit in _METRICS:
            value = getattr(checkpoint, attribute)
            yield MetricRow(checkpoint.step, checkpoint.epoch, metric, value, unit)


@contextmanager
def repeatable(training: TrainingSettings) -> Iterator[None]:
    """Fix what a trial's numbers depend on beside its settings, and put it back.

    These are the number of threads and cuDNN's algorithms, which change sums in their last digits,
    and what the caller may have set in this process, which other processes do not know: the
    default dtype, autocast, bnkit's kernel, whether gradients are recorded.
    """
    cudnn = torch.backends.cudnn
    before = torch.get_num_threads(), cudnn.benchmark, cudnn.deterministic
    default_dtype = torch.get_default_dtype()
    without_autocast = torch.autocast(torch.device(training.device).type, enabled=False)
    torch.set_num_threads(training.threads)
    cudnn.benchmark, cudnn.deterministic = False, True
    torch.set_default_dtype(torch.float32)
    try:
        with torch.inference_mode(False), torch.enable_grad(), without_autocast, use_kernel(AUTO):
            yield
    finally:
        torch.set_num_threads(before[0])
        cudnn.benchmark, cudnn.deterministic = before[1:]
        torch.set_default_dtype(default_dtype)
