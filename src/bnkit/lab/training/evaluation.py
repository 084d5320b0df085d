"""Loss and accuracy of a network: as trained so far, in eval mode, and untrained."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bnkit.lab.training.batches import Split
from bnkit.lab.training.computation import Computation

Loss = Callable[[Tensor, Tensor], Tensor]
EVALUATION_BATCH = 256  # more falls out of the caches of a CPU
FLOAT32 = Computation()


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


class BatchResult(NamedTuple):
    """One batch: its mean loss, its examples, and how many of them were classified rightly."""

    loss: float
    examples: int
    hits: int


def batch_result(loss: float, logits: Tensor, labels: Tensor) -> BatchResult:
    """Return a batch's loss and hits."""
    hits = int((logits.detach().argmax(1) == labels).sum())
    return BatchResult(loss, len(labels), hits)


class Sums:
    """Loss and hits summed over examples."""

    def __init__(self) -> None:
        self.examples, self.loss, self.hits = 0, 0.0, 0

    def add(self, batch: BatchResult) -> None:
        """Add a batch."""
        self.examples += batch.examples
        self.loss += batch.loss * batch.examples
        self.hits += batch.hits

    def means(self) -> tuple[float, float]:
        """Return mean loss and accuracy."""
        return self.loss / self.examples, self.hits / self.examples


class TrainingMeans:
    """Training metrics: over the epoch so far, and over the last batches, as many as one epoch has.

    Args:
        steps_per_epoch: optimizer steps of an epoch.
        batches_per_epoch: its batches.
    """

    def __init__(self, steps_per_epoch: int, batches_per_epoch: int) -> None:
        self._steps_per_epoch = steps_per_epoch
        self._epoch = Sums()
        self._recent: deque[BatchResult] = deque(maxlen=batches_per_epoch)

    def add(self, step: int, batches: Sequence[BatchResult]) -> None:
        """Add the batches of an optimizer step, counted from 1."""
        if (step - 1) % self._steps_per_epoch == 0:
            self._epoch = Sums()
        for batch in batches:
            self._epoch.add(batch)
            self._recent.append(batch)

    def of_epoch(self) -> tuple[float, float]:
        """Return mean loss and accuracy over the epoch so far."""
        return self._epoch.means()

    def recent_loss(self) -> float:
        """Return the mean loss over the last epoch's worth of batches."""
        examples = sum(batch.examples for batch in self._recent)
        return sum(batch.loss * batch.examples for batch in self._recent) / examples


def evaluate(
    network: nn.Module, split: Split, loss_function: Loss, computation: Computation = FLOAT32
) -> tuple[float, float]:
    """Return mean loss and accuracy in eval mode; the network's modes are put back."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        return _means(network, split, EVALUATION_BATCH, loss_function, computation)
    finally:
        for module, training in modes:
            module.training = training


def untrained(
    network: nn.Module,
    train_split: Split,
    test_split: Split,
    batch_size: int,
    loss: Loss,
    computation: Computation = FLOAT32,
) -> Checkpoint:
    """Return the metrics of the untrained network; a copy is measured, so nothing is left on it.

    Its training loss is taken as a training loss is: in training mode, batch by batch, so that it
    can be compared with the training loss of later checkpoints.
    """
    with torch.random.fork_rng(devices=_cuda_devices(train_split.images)):
        measured = copy.deepcopy(network).train()
        train_means = _means(measured, train_split, batch_size, loss, computation)
        test_means = evaluate(copy.deepcopy(network), test_split, loss, computation)
    return Checkpoint(0, 0, *train_means, *test_means)


def _means(
    network: nn.Module, split: Split, batch_size: int, loss_function: Loss, computation: Computation
) -> tuple[float, float]:
    sums = Sums()
    with torch.no_grad():
        for images, labels in _in_order(split, batch_size):
            logits = computation.run(network, images)
            sums.add(batch_result(loss_function(logits, labels).item(), logits, labels))
    return sums.means()


def _in_order(split: Split, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    # A last batch of one example joins the one before it: training mode cannot normalize it.
    starts = list(range(0, len(split), batch_size))
    if len(starts) > 1 and len(split) - starts[-1] == 1:
        starts.pop()
    for start, end in zip(starts, [*starts[1:], len(split)], strict=True):
        yield split.images[start:end], split.labels[start:end]


def _cuda_devices(tensor: Tensor) -> list[int]:
    return [tensor.device.index or 0] if tensor.is_cuda else []
