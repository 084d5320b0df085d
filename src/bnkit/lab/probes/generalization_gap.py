"""How much better a network does on what it was trained on than on held-out data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import nn

from bnkit.lab.probes.classified import examples_option, labelled, predictions
from bnkit.lab.probes.moment import Moment
from bnkit.lab.probes.objective import Examples, Objective
from bnkit.lab.probes.probe import Cost, Measured, Probe
from bnkit.lab.probes.probed_step import refuse_no_scalar


class Means(NamedTuple):
    """Mean loss and accuracy over some examples."""

    loss: float
    accuracy: float


class GeneralizationGap(Probe):
    """Loss and accuracy on held-out data against those on the training data, both in eval mode.

    "loss gap" = loss on held-out − on training data; "accuracy gap" = accuracy on training − on
    held-out data; both are positive for a network that has learnt its training data better. The
    loss is without weight decay. The training side, in eval mode, is recorded too: `train loss` is
    of batches as they were trained, with dropout and while the weights moved.

    Options:
        examples: how many of each split, from its beginning; default all.

    Raises:
        ProbeError: `examples` is no number; batches are not (images, labels).
    """

    kind = "generalization-gap"
    needs = frozenset({"held-out", "training"})

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.examples = examples_option(self.kind, self.options["examples"])

    def cost(self) -> Cost:
        """Two forwards over both splits."""
        return Cost(forwards=2, note="over the examples of both splits")

    def measure(self, moment: Moment) -> Iterator[Measured]:
        """Yield both gaps, and loss and accuracy on the training data in eval mode."""
        assert moment.training is not None
        assert moment.held_out is not None
        with moment.in_eval() as network:
            train, held_out = (
                means(network, moment.objective, split, self.examples)
                for split in (moment.training, moment.held_out)
            )
        yield Measured("loss gap", held_out.loss - train.loss)
        yield Measured("accuracy gap", train.accuracy - held_out.accuracy)
        yield Measured("train loss in eval mode", train.loss)
        yield Measured("train accuracy in eval mode", train.accuracy)


def means(network: nn.Module, objective: Objective, split: Examples, limit: int | None) -> Means:
    """Return mean loss and accuracy over the first `limit` examples, in the network's mode."""
    loss, hits, seen = 0.0, 0, 0
    for batch in split.batches(limit):
        pair = labelled(batch)
        of_batch = objective.loss(network, batch)
        refuse_no_scalar(of_batch)
        loss += of_batch.item() * len(pair.labels)
        hits += int((predictions(network, objective, pair) == pair.labels).sum())
        seen += len(pair.labels)
    return Means(loss / seen, hits / seen)
