"""What a network that was left in training mode predicts, batch size by batch size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bnkit.errors import ProbeError
from bnkit.inspection.families import module_family
from bnkit.inspection.preserve import preserve
from bnkit.lab.probes.classified import Labelled, all_labelled, examples_option, predictions
from bnkit.lab.probes.moment import Moment
from bnkit.lab.probes.objective import Objective
from bnkit.lab.probes.probe import Cost, Measured, Probe

_SEED = 0


class TrainModeAccuracy(Probe):
    """Accuracy in training mode on held-out images, and whether predictions depend on the batch.

    The images are classified twice, in two orders drawn once and for all, in batches of each size.
    Each time buffers and random numbers begin as they are found, and dropout layers are in eval
    mode, so that the orders differ in nothing but which images share a batch. Per batch size, as
    key:
    "train-mode accuracy" is the mean of both; "accuracy lost in train mode" is the accuracy in eval
    mode less that; "train-mode changed predictions" and "eval-mode changed predictions" are the
    shares of images that get another class in the other order. A batch size of which the network
    cannot take a batch in training mode (one value per channel) has NaN; a last, smaller batch is
    left out of both orders.

    Options:
        batch_sizes: default 1, 2, 4 … 256; sizes above the number of images are not recorded.
        examples: how many held-out examples; default 2,000.

    Raises:
        ProbeError: a batch size below 1; batches are not (images, labels).
    """

    kind = "train-mode-accuracy"
    needs = frozenset({"held-out"})

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.examples = examples_option(self.kind, self.options["examples"])
        self.batch_sizes = sorted(set(self.options["batch_sizes"]))
        if not all(isinstance(size, int) and size > 0 for size in self.batch_sizes):
            raise ProbeError(
                f"batch_sizes = {self.options['batch_sizes']!r}",
                required="whole numbers from 1 on",
            )

    def cost(self) -> Cost:
        """Four forwards over the held-out examples for each batch size."""
        return Cost(forwards=4 * len(self.batch_sizes), note="over the held-out examples")

    def measure(self, moment: Moment) -> Iterator[Measured]:
        """Yield what each batch size gives."""
        assert moment.held_out is not None
        data = all_labelled(moment.held_out, self.examples)
        for size in self.batch_sizes:
            if size > len(data.labels):
                continue
            found = compared(moment.network, moment.objective, data, size)
            for metric, value in found._asdict().items():
                yield Measured(_METRICS[metric], value, key=str(size))


class Compared(NamedTuple):
    """What two orders of the same images give at one batch size; shares of the images."""

    train_accuracy: float
    lost: float
    train_changed: float
    eval_changed: float


_METRICS = {
    "train_accuracy": "train-mode accuracy",
    "lost": "accuracy lost in train mode",
    "train_changed": "train-mode changed predictions",
    "eval_changed": "eval-mode changed predictions",
}


def compared(network: nn.Module, objective: Objective, data: Labelled, size: int) -> Compared:
    """Classify images in two orders, in both modes; the network stays as it is.

    Only images that lie in whole batches in both orders are counted.

    Args:
        network: a layer that is in eval mode within a network in training mode stays so.
        objective: how it is run.
        data: images and labels.
        size: of the batches, at most the number of images.
    """
    count = len(data.labels)
    generator = torch.Generator().manual_seed(_SEED)
    orders = [
        torch.randperm(count, generator=generator)[: count - count % size].to(data.labels.device)
        for _ in range(2)
    ]
    is_counted = torch.zeros(2, count, dtype=torch.bool, device=data.labels.device)
    for row, order in enumerate(orders):
        is_counted[row, order] = True
    counted = is_counted.all(0)
    labels = data.labels[counted]
    found = {
        mode: [_in_order(network, objective, data, order, size, mode) for order in orders]
        for mode in (True, False)
    }
    train, evaluated = ([each[counted] for each in found[mode]] for mode in (True, False))
    changed = [_share(pair[0] != pair[1]) for pair in (train, evaluated)]
    accuracies = [[_share(each == labels) for each in pair] for pair in (train, evaluated)]
    in_train, in_eval = (sum(pair) / 2 for pair in accuracies)
    if any((each < 0).any() for each in train):  # no class was given
        return Compared(math.nan, math.nan, math.nan, changed[1])
    return Compared(in_train, in_eval - in_train, *changed)


def _in_order(
    network: nn.Module,
    objective: Objective,
    data: Labelled,
    order: Tensor,
    size: int,
    training: bool,
) -> Tensor:
    """Return each image's class, −1 where it has none, in the order of `data`."""
    classes = torch.full_like(data.labels, -1)
    try:
        with preserve(network, copy_parameters=False), torch.no_grad():
            _set_mode(network, training)
            parts = [
                predictions(network, objective, batch)
                for batch in Labelled(data.images[order], data.labels[order]).cut(size)
            ]
        classes[order] = torch.cat(parts).to(classes.dtype)
    except ValueError:
        # Batch norm refuses one value per channel, which a batch of one image can be.
        if not training or size > 1:
            raise
    return classes


def _set_mode(network: nn.Module, training: bool) -> None:
    """Put a network into a mode; in training, dropout and what is frozen stay in eval mode."""
    if not (training and network.training):
        network.train(training)
    for module in network.modules():
        if module_family(module) == "dropout":
            module.eval()


def _share(found: Tensor) -> float:
    return float(found.double().mean()) if len(found) else math.nan
