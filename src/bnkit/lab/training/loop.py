"""The training loop: one network, one data set, metrics at every checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from torch import nn

from bnkit.lab.training.batches import Split, grouped_batches
from bnkit.lab.training.computation import Computation
from bnkit.lab.training.early_stopping import EarlyStopping
from bnkit.lab.training.evaluation import Checkpoint, Loss, TrainingMeans, evaluate, untrained
from bnkit.lab.training.full_batch import FullBatch
from bnkit.lab.training.observer import Observer, StepPlace
from bnkit.lab.training.optimizer_steps import OptimizerSteps
from bnkit.lab.training.settings import TrainingSettings, batches_per_epoch


@dataclass
class TrainingRun:
    """What a training run left.

    Attributes:
        checkpoints: the untrained network's first. After early stopping the last one measured
            stands at each later step too: the network does not change any more.
        diverged_step: the step at which the run diverged, if it did.
        stopped_step: the step at which early stopping ended it, if it did.
    """

    checkpoints: list[Checkpoint] = field(default_factory=list)
    diverged_step: int | None = None
    stopped_step: int | None = None


def train(
    network: nn.Module,
    train_split: Split,
    test_split: Split,
    settings: TrainingSettings,
    *,
    batch_size: int,
    drop_last: bool,
    seed: int,
    loss_function: Loss,
    on_checkpoint: Callable[[int], None] = lambda _: None,
    observer: Observer | None = None,
) -> TrainingRun:
    """Train a network and return its metrics at every checkpoint.

    The first checkpoint is the untrained network at step 0. Training stops at the first loss that
    is not finite, and counts as diverged; so does a run whose training loss over its last epoch's
    worth of batches is not below the untrained network's.

    Args:
        network: trained in place, on the device of the splits and in their dtype.
        train_split, test_split: the examples.
        settings: length, optimizer, schedule, checkpoints.
        batch_size, drop_last: how an epoch is cut.
        seed: seed of the batch order, which nothing else draws from.
        loss_function: (logits, labels) → scalar mean.
        on_checkpoint: called with the steps taken after each checkpoint.
        observer: told of every step.
    """
    observer = observer or Observer()
    settings = settings.for_batch_size(batch_size)
    computation = Computation.of(settings)
    first = untrained(network, train_split, test_split, batch_size, loss_function, computation)
    run, cut = TrainingRun([first]), (len(train_split), batch_size, drop_last)
    per_epoch, total = settings.steps_per_epoch(*cut), settings.total_steps(*cut)
    length = {"total": total, "per_epoch": per_epoch}
    steps = OptimizerSteps(
        network, settings, loss_function, computation, observer=observer, **length
    )
    full_batch = FullBatch(network, train_split, computation)
    means = TrainingMeans(per_epoch, batches_per_epoch(*cut))
    stopping = EarlyStopping(settings.early_stopping)
    places = list(_places(total, per_epoch, settings.validate_every or per_epoch))
    groups = grouped_batches(train_split, batch_size, drop_last, settings.accumulate, seed)
    network.train()
    observer.start()
    for place, batches in zip(places, groups, strict=False):
        full_batch.refresh()
        results = steps.take(place, batches)
        if results is None:
            run.diverged_step = place.step
            return run
        means.add(place.step, results)
        if not place.is_checkpoint:
            continue
        tested = evaluate(network, test_split, loss_function, computation)
        run.checkpoints.append(Checkpoint(place.step, place.epoch, *means.of_epoch(), *tested))
        if not math.isfinite(tested[0]):
            run.diverged_step = place.step
            return run
        on_checkpoint(place.step)
        if stopping.is_due(run.checkpoints[-1]) and not place.is_last:
            run.stopped_step = place.step
            break
    _end(run, means.recent_loss(), places, on_checkpoint)
    observer.finish()
    return run


def _end(
    run: TrainingRun,
    recent_loss: float,
    places: Sequence[StepPlace],
    on_checkpoint: Callable[[int], None],
) -> None:
    """Note whether a run has diverged; one that stopped early stands still from then on."""
    if not recent_loss < run.checkpoints[0].train_loss:
        run.diverged_step = run.stopped_step or places[-1].step
    elif run.stopped_step is not None:
        run.checkpoints += _standing(run.checkpoints[-1], places)
        on_checkpoint(places[-1].step)


def _places(total: int, per_epoch: int, validate_every: int) -> Iterator[StepPlace]:
    for step in range(1, total + 1):
        is_last = step == total
        yield StepPlace(
            step,
            -(-step // per_epoch),
            ends_epoch=step % per_epoch == 0,
            is_checkpoint=is_last or step % validate_every == 0,
            is_last=is_last,
        )


def _standing(last: Checkpoint, places: Iterable[StepPlace]) -> Iterator[Checkpoint]:
    """Yield the checkpoints that a stopped run did not reach, with its last values."""
    for place in places:
        if place.step > last.step and place.is_checkpoint:
            yield last._replace(step=place.step, epoch=place.epoch)
