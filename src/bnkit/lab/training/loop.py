"""The training loop: one network, one data set, metrics at every checkpoint."""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bnkit.lab.training.batches import Split, shuffled_batches
from bnkit.lab.training.optimizers import make_optimizer
from bnkit.lab.training.settings import TrainingSettings, steps_per_epoch

Loss = Callable[[Tensor, Tensor], Tensor]
EVALUATION_BATCH = 1024


class Checkpoint(NamedTuple):
    """Metrics at one moment.

    `train_loss` and `train_accuracy` are means over the examples of the epoch so far, as trained;
    `test_loss` and `test_accuracy` are of the whole test split in eval mode.
    """

    step: int
    epoch: int
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float


@dataclass
class TrainingRun:
    """What a training run left: its checkpoints, and the step at which it diverged, if it did."""

    checkpoints: list[Checkpoint] = field(default_factory=list)
    diverged_step: int | None = None


class _Sums:
    """Loss and hits summed over examples."""

    def __init__(self) -> None:
        self.examples, self.loss, self.hits = 0, 0.0, 0

    def add(self, loss: float, logits: Tensor, labels: Tensor) -> None:
        self.examples += len(labels)
        self.loss += loss * len(labels)
        self.hits += int((logits.detach().argmax(1) == labels).sum())

    def means(self) -> tuple[float, float]:
        return self.loss / self.examples, self.hits / self.examples


class _Window:
    """Mean loss over the examples of the last batches, as many as one epoch has."""

    def __init__(self, batches: int) -> None:
        self.batches: deque[tuple[float, int]] = deque(maxlen=batches)

    def add(self, loss: float, examples: int) -> None:
        self.batches.append((loss, examples))

    def mean(self) -> float:
        examples = sum(count for _, count in self.batches)
        return sum(loss * count for loss, count in self.batches) / examples


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
) -> TrainingRun:
    """Train a network and return its metrics at every checkpoint.

    The first checkpoint is the untrained network at step 0. Training stops at the first loss that
    is not finite, and counts as diverged; so does a run whose training loss over its last epoch's
    worth of batches is not below the untrained network's.

    Args:
        network: trained in place, on the device of the splits.
        train_split, test_split: the examples.
        settings: length, optimizer, checkpoints.
        batch_size, drop_last: how an epoch is cut.
        seed: seed of the batch order, which nothing else draws from.
        loss_function: (logits, labels) → scalar mean.
        on_checkpoint: called with the steps taken after each checkpoint.
    """
    run = TrainingRun([untrained(network, train_split, test_split, batch_size, loss_function)])
    per_epoch = steps_per_epoch(len(train_split), batch_size, drop_last)
    total = settings.total_steps(len(train_split), batch_size, drop_last)
    optimizer = make_optimizer(network.parameters(), settings.optimizer)
    sums, window = _Sums(), _Window(per_epoch)
    batches = _endless_batches(train_split, batch_size, drop_last, seed)
    network.train()
    for step in range(1, total + 1):
        images, labels = next(batches)
        logits = network(images)
        loss = loss_function(logits, labels)
        value = loss.item()
        if not math.isfinite(value):
            run.diverged_step = step
            return run
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % per_epoch == 1 or per_epoch == 1:
            sums = _Sums()
        sums.add(value, logits, labels)
        window.add(value, len(labels))
        if step == total or step % (settings.validate_every or per_epoch) == 0:
            epoch = -(-step // per_epoch)
            test_means = evaluate(network, test_split, loss_function)
            run.checkpoints.append(Checkpoint(step, epoch, *sums.means(), *test_means))
            if not math.isfinite(test_means[0]):
                run.diverged_step = step
                return run
            on_checkpoint(step)
    if not window.mean() < run.checkpoints[0].train_loss:
        run.diverged_step = total
    return run


def evaluate(network: nn.Module, split: Split, loss_function: Loss) -> tuple[float, float]:
    """Return mean loss and accuracy in eval mode; the network's modes are put back."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        return _means(network, split, EVALUATION_BATCH, loss_function)
    finally:
        for module, training in modes:
            module.training = training


def untrained(
    network: nn.Module, train_split: Split, test_split: Split, batch_size: int, loss: Loss
) -> Checkpoint:
    """Return the metrics of the untrained network; a copy is measured, so nothing is left on it.

    Its training loss is taken as a training loss is: in training mode, batch by batch, so that it
    can be compared with the training loss of later checkpoints.
    """
    with torch.random.fork_rng(devices=_cuda_devices(train_split.images)):
        measured = copy.deepcopy(network).train()
        train_means = _means(measured, train_split, batch_size, loss)
        test_means = evaluate(copy.deepcopy(network), test_split, loss)
    return Checkpoint(0, 0, *train_means, *test_means)


def _means(
    network: nn.Module, split: Split, batch_size: int, loss_function: Loss
) -> tuple[float, float]:
    sums = _Sums()
    with torch.no_grad():
        for images, labels in _in_order(split, batch_size):
            logits = network(images)
            sums.add(loss_function(logits, labels).item(), logits, labels)
    return sums.means()


def _in_order(split: Split, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    # A last batch of one example joins the one before it: training mode cannot normalize it.
    starts = list(range(0, len(split), batch_size))
    if len(starts) > 1 and len(split) - starts[-1] == 1:
        starts.pop()
    for start, end in zip(starts, [*starts[1:], len(split)], strict=True):
        yield split.images[start:end], split.labels[start:end]


def _endless_batches(
    split: Split, batch_size: int, drop_last: bool, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from shuffled_batches(split, batch_size, drop_last, generator)


def _cuda_devices(tensor: Tensor) -> list[int]:
    return [tensor.device.index or 0] if tensor.is_cuda else []
