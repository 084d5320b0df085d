"""What a training minimizes, as probes need it: the output and the loss of a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bnkit.lab.training import Computation, Loss, Split

EVALUATION_BATCH = 256


class Objective(Protocol):
    """How a loop runs its network on a batch, whatever its batches are."""

    def output(self, network: nn.Module, batch: Any) -> Any:
        """Return the network's output."""

    def loss(self, network: nn.Module, batch: Any) -> Tensor:
        """Return the loss, a scalar: a mean over the batch's examples, without weight decay."""

    def examples(self, batch: Any) -> int:
        """Return the number of examples in a batch."""


class Examples(Protocol):
    """Examples that a probe may look at, beside those that are trained on."""

    def batches(self, limit: int | None = None) -> Iterator[Any]:
        """Yield batches that hold `limit` examples, always the same; None: all."""

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class ClassifierObjective:
    """The objective of a study's trials: logits of images, held against labels.

    Attributes:
        loss_function: (logits, labels) → scalar mean.
        computation: dtype and memory format of the forward.
    """

    loss_function: Loss
    computation: Computation

    def output(self, network: nn.Module, batch: tuple[Tensor, Tensor]) -> Any:
        """Return the logits of a batch of images and labels, shape (N, K)."""
        return self.computation.run(network, batch[0])

    def loss(self, network: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the mean loss of a batch of images and labels."""
        return self.loss_function(self.output(network, batch), batch[1])

    def examples(self, batch: tuple[Tensor, Tensor]) -> int:
        """Return the number of its labels."""
        return len(batch[1])


@dataclass(frozen=True)
class SplitExamples:
    """A split of a study's data, in batches of (images, labels).

    They come in an order drawn once for all, equal in all trials: splits are often stored class by
    class, and neither the first examples nor a batch may be of one class alone.

    Attributes:
        split: the examples.
        batch_size: examples per batch; the last may be smaller.
    """

    split: Split
    batch_size: int = EVALUATION_BATCH

    def batches(self, limit: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield `limit` examples, those of a smaller limit first."""
        for part in torch.split(self._order[:limit], self.batch_size):
            yield self.split.images[part], self.split.labels[part]

    def __len__(self) -> int:
        return len(self.split)

    @cached_property
    def _order(self) -> Tensor:
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(0))
        return order.to(self.split.images.device)


@dataclass(frozen=True)
class GivenExamples:
    """Batches that a user gave."""

    given: Sequence[Any]
    objective: Objective

    def batches(self, limit: int | None = None) -> Iterator[Any]:
        """Yield whole batches until they hold `limit` examples."""
        seen = 0
        for batch in self.given:
            if limit is not None and seen >= limit:
                return
            yield batch
            seen += self.objective.examples(batch)

    def __len__(self) -> int:
        return sum(self.objective.examples(batch) for batch in self.given)
