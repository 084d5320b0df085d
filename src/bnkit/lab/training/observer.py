"""What may watch a training from outside of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class StepPlace(NamedTuple):
    """Where in a training an optimizer step stands.

    Attributes:
        step: counted from 1; 0 stands for the untrained network.
        epoch: the epoch that the step belongs to, counted from 1.
        ends_epoch: whether it is the last one of its epoch.
        is_checkpoint: whether the network is evaluated after it.
        is_last: whether it is the training's last.
    """

    step: int
    epoch: int
    ends_epoch: bool = False
    is_checkpoint: bool = False
    is_last: bool = False


class Observer:
    """Told of every moment of a training; this one does nothing."""

    def start(self) -> None:
        """Before the first step."""

    def begin(self, place: StepPlace) -> None:
        """Before a step's first forward."""

    def before_update(
        self,
        batches: Sequence[Any],
        learning_rate: float,
        *,
        is_plain_gradient: bool,
        loss: float | None = None,
    ) -> None:
        """Between a step's last backward and the optimizer's step.

        Args:
            batches: of the step.
            learning_rate: of the first parameter group.
            is_plain_gradient: whether `.grad` holds the mean gradient over the examples, not
                clipped, not scaled, without weight decay.
            loss: the mean over the step's examples, where it is known.
        """

    def after_update(self) -> None:
        """After the optimizer's step."""

    def abandon(self) -> None:
        """In place of `before_update`: the step's loss was not finite, and training ends."""

    def finish(self) -> None:
        """After the last step of a training that did not diverge."""
