"""One optimizer step: forward, loss, backward over its batches, and the update."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from bnkit.lab.training.computation import Computation
from bnkit.lab.training.evaluation import BatchResult, Loss, Sums, batch_result
from bnkit.lab.training.observer import Observer, StepPlace
from bnkit.lab.training.optimizers import make_optimizer
from bnkit.lab.training.schedules import rate_factor
from bnkit.lab.training.settings import TrainingSettings


class OptimizerSteps:
    """A network with its optimizer, and how a step of it is taken.

    Args:
        network: trained in place.
        settings: optimizer, schedule, clipping.
        loss_function: (logits, labels) → scalar mean.
        computation: how the forward runs.
        total, per_epoch: optimizer steps of the training and of an epoch, for the schedule.
        observer: told of every step.
    """

    def __init__(
        self,
        network: nn.Module,
        settings: TrainingSettings,
        loss_function: Loss,
        computation: Computation,
        *,
        total: int,
        per_epoch: int,
        observer: Observer | None = None,
    ) -> None:
        self.network, self.settings, self.loss_function = network, settings, loss_function
        self.computation, self.total, self.per_epoch = computation, total, per_epoch
        self.observer = observer or Observer()
        self.optimizer = make_optimizer(network, settings)
        self.scaler = computation.gradient_scaler()

    def take(
        self, place: StepPlace, batches: Sequence[tuple[Tensor, Tensor]]
    ) -> list[BatchResult] | None:
        """Take a step along the mean gradient over the examples of its batches.

        Args:
            place: which step it is.
            batches: images and labels; more than one where gradients are accumulated.

        Returns:
            What each batch gave; None if a loss was not finite, and then no step was taken.
        """
        self._set_learning_rate(place.step)
        self.optimizer.zero_grad(set_to_none=True)
        self.observer.begin(place)
        results = self._backward(batches)
        if results is None:
            self.observer.abandon()
            return None
        sums = Sums()
        for result in results:
            sums.add(result)
        self.observer.before_update(
            batches,
            self.optimizer.param_groups[0]["lr"],
            is_plain_gradient=not self.scaler.is_enabled(),
            loss=sums.means()[0],
        )
        self._update()
        self.observer.after_update()
        return results

    def _backward(self, batches: Sequence[tuple[Tensor, Tensor]]) -> list[BatchResult] | None:
        examples = sum(len(labels) for _, labels in batches)
        results = []
        for images, labels in batches:
            logits = self.computation.run(self.network, images)
            loss = self.loss_function(logits, labels)
            value = loss.item()
            if not math.isfinite(value):
                return None
            # A batch counts by its examples, so that the last one of an epoch may be smaller.
            weighted = loss if len(batches) == 1 else loss * (len(labels) / examples)
            self.scaler.scale(weighted).backward()  # type: ignore[no-untyped-call]
            results.append(batch_result(value, logits, labels))
        return results

    def _set_learning_rate(self, step: int) -> None:
        factor = rate_factor(self.settings.schedule, step, self.total, self.per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.optimizer.lr * factor

    def _update(self) -> None:
        if self.settings.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
