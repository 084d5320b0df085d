"""What a user's optimizer step was: its learning rate, the weights before it, its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bnkit.lab.probes import Session
from bnkit.lab.probes.probed_step import Gradient, copied_parameters


class SeenUpdate(NamedTuple):
    """What is known of an update after it.

    Attributes:
        learning_rate: of the first parameter group; None without an optimizer.
        weights: a copy of the parameters before it; None if no probe watches, or there was none.
        gradient: `.grad`, where it may hold the step's mean gradient as it was accumulated.
    """

    learning_rate: float | None
    weights: dict[str, Tensor] | None
    gradient: Gradient | None


class UpdateWatch:
    """Watches the optimizer, if there is one, else the moment when a step begins.

    Attributes:
        updates: how many steps the optimizer took.

    Args:
        session: tells whether a probe watches the step.
        optimizer: the loop's, if it was given.
    """

    def __init__(self, session: Session, optimizer: torch.optim.Optimizer | None) -> None:
        self._session, self._optimizer = session, optimizer
        self.updates = 0
        self._rate: float | None = None
        self._weights: dict[str, Tensor] | None = None
        self._handle = None
        if optimizer is not None:
            self._handle = optimizer.register_step_pre_hook(self._see)

    def begin(self) -> None:
        """Begin a step."""
        self._weights = self._rate = None
        if self._optimizer is None and self._session.is_probed:
            self._weights = copied_parameters(self._session.network)

    def seen(self, batches: Sequence[Any]) -> SeenUpdate:
        """Return what is known of the step's update, after it."""
        gradient = self._session.gradients()
        # A gradient that is accumulated over m backwards was written to m − 1 times; clipping,
        # unscaling and zeroing in place write to it once more.
        is_untouched = all(each._version < max(len(batches), 1) for each in gradient.values())
        return SeenUpdate(
            self._rate, self._weights, gradient if gradient and is_untouched else None
        )

    def close(self) -> None:
        """Stop watching."""
        if self._handle is not None:
            self._handle.remove()

    def _see(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        self.updates += 1
        self._rate = float(optimizer.param_groups[0]["lr"])
        if self._session.is_probed and self._weights is None:
            self._weights = copied_parameters(self._session.network)
