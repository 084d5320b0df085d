"""What probes of classifiers share: images with labels, and how many are classified rightly."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bnkit.errors import ProbeError
from bnkit.lab.probes.objective import Examples, Objective


class Labelled(NamedTuple):
    """Images (N, …) and their labels (N,)."""

    images: Tensor
    labels: Tensor

    def cut(self, size: int) -> list[Labelled]:
        """Return batches of `size` in their order; the last may be smaller."""
        starts = range(0, len(self.labels), size)
        return [Labelled(self.images[s : s + size], self.labels[s : s + size]) for s in starts]


def labelled(batch: Any) -> Labelled:
    """Return a batch as images and labels.

    Raises:
        ProbeError: it is something else.
    """
    is_pair = isinstance(batch, list | tuple) and len(batch) == 2
    if not is_pair or not all(isinstance(part, Tensor) for part in batch):
        raise ProbeError(
            f"a batch is a {type(batch).__name__}"
            + (f" of {len(batch)}" if isinstance(batch, list | tuple) else ""),
            required="(images, labels), two tensors: accuracies are measured",
            remedy="Leave this probe out where there are no classes",
        )
    return Labelled(*batch)


def all_labelled(examples: Examples, limit: int | None) -> Labelled:
    """Return the first `limit` examples in one batch; None: all.

    Raises:
        ProbeError: batches are not of images and labels.
    """
    batches = [labelled(batch) for batch in examples.batches(limit)]
    return Labelled(*(torch.cat(parts)[:limit] for parts in zip(*batches, strict=True)))


def predictions(network: nn.Module, objective: Objective, batch: Labelled) -> Tensor:
    """Return the class with the largest logit of each image, shape (N,).

    Raises:
        ProbeError: the network's output is not one logit per class and image.
    """
    output = objective.output(network, batch)
    if not isinstance(output, Tensor) or output.dim() != 2:
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ProbeError(
            f"the network's output is {shape}",
            required="logits of shape (N, K): accuracies are measured",
            remedy="Leave this probe out where there are no classes",
        )
    return output.argmax(1)


def examples_option(kind: str, value: Any) -> int | None:
    """Return the option `examples`: how many are looked at; None for all.

    Raises:
        ProbeError: it is no number of examples.
    """
    is_count = isinstance(value, int) and not isinstance(value, bool) and value > 0
    if value is not None and not is_count:
        raise ProbeError(
            f"examples = {value!r} of the probe {kind!r}",
            required="a whole number from 1 on; leave it out for all",
        )
    return value if is_count else None
