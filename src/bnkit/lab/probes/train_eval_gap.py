"""Loss and accuracy of the same network on the same data, in training mode and in eval mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bnkit.lab.probes.moment import Moment
from bnkit.lab.probes.probe import Cost, Measured, Probe
from bnkit.lab.probes.probed_step import refuse_no_scalar

_MODES = ("training", "eval")


class TrainEvalGap(Probe):
    """What training examples give in both modes, and the difference.

    "loss by mode" and "accuracy by mode" have a series for "training" and one for "eval". "loss gap
    between modes" is eval − training and "accuracy gap between modes" training − eval: both are
    above 0 where the network does worse in eval mode. In training mode batch norm uses the
    batch, so its size counts: a study takes batches as large as those it trains on. Layers in
    eval mode within a network in training mode are frozen and stay so. A batch of one example
    is left out, which training mode cannot normalize.

    Accuracy is recorded where a batch ends with whole-number labels, (N,), and the network puts out
    logits, (N, K) with K ≥ 2.

    Options:
        examples: how many training examples; default 1,000.

    Source: studies.md, Definitions of the probes.
    """

    kind = "train-eval-gap"
    needs = frozenset({"training"})

    def cost(self) -> Cost:
        """Two forwards over the training examples."""
        return Cost(forwards=2, note=f"over {self.options['examples']} training examples")

    def measure(self, moment: Moment) -> Iterator[Measured]:
        """Yield loss and accuracy in both modes, and the gaps."""
        with moment.in_eval():
            evaluated = self._sums(moment)
        # Last, because it moves running statistics; the session puts these and modes back.
        if not moment.network.training:
            moment.network.train()
        with torch.no_grad():
            training = self._sums(moment)
        if not training.examples:
            return
        losses = training.loss, evaluated.loss
        for mode, loss in zip(_MODES, losses, strict=True):
            yield Measured("loss by mode", loss, key=mode)
        yield Measured("loss gap between modes", losses[1] - losses[0])
        if training.labelled and evaluated.labelled:
            accuracies = training.accuracy, evaluated.accuracy
            for mode, accuracy in zip(_MODES, accuracies, strict=True):
                yield Measured("accuracy by mode", accuracy, key=mode)
            yield Measured("accuracy gap between modes", accuracies[0] - accuracies[1])

    def _sums(self, moment: Moment) -> _Sums:
        assert moment.training is not None
        sums = _Sums()
        with _last_output(moment.network) as output:
            for batch in moment.training.batches(self.options["examples"]):
                count = moment.objective.examples(batch)
                if count > 1:
                    loss = moment.objective.loss(moment.network, batch)
                    refuse_no_scalar(loss)
                    sums.add(loss.item(), count, output.get("is"), batch)
        return sums


class _Sums:
    def __init__(self) -> None:
        self.examples = self.labelled = self._hits = 0
        self._loss = 0.0

    @property
    def loss(self) -> float:
        return self._loss / self.examples

    @property
    def accuracy(self) -> float:
        return self._hits / self.labelled

    def add(self, loss: float, count: int, output: Any, batch: Any) -> None:
        self.examples += count
        self._loss += loss * count
        labels = labels_of(batch)
        if labels is not None and are_logits(output, labels):
            self.labelled += len(labels)
            self._hits += int((output.argmax(1) == labels.to(output.device)).sum())


def labels_of(batch: Any) -> Tensor | None:
    """Return the labels that a batch ends with, whole numbers of shape (N,); None without any."""
    values = list(batch.values()) if isinstance(batch, dict) else batch
    last = values[-1] if isinstance(values, list | tuple) and len(values) > 1 else None
    if not isinstance(last, Tensor) or last.dim() != 1:
        return None
    is_whole = not (last.is_floating_point() or last.is_complex() or last.dtype == torch.bool)
    return last if is_whole else None


def are_logits(output: Any, labels: Tensor) -> bool:
    """Return whether an output is (N, K), K ≥ 2, and every label one of its K classes."""
    if not (isinstance(output, Tensor) and output.is_floating_point() and output.dim() == 2):
        return False
    classes = output.shape[1]
    fits = len(labels) == len(output) > 0 and classes > 1
    return fits and bool(((labels >= 0) & (labels < classes)).all())


@contextmanager
def _last_output(network: nn.Module) -> Iterator[dict[str, Any]]:
    """Give a dict in which "is" names what the network put out last."""
    seen: dict[str, Any] = {}
    handle = network.register_forward_hook(lambda _, __, output: seen.update({"is": output}))
    try:
        yield seen
    finally:
        handle.remove()
