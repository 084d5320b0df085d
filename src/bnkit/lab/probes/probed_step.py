"""An optimizer step, looked at again: its batches, modes and random draws at other weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from bnkit.errors import ProbeError
from bnkit.lab.probes.objective import Objective
from bnkit.lab.probes.ranks import OneRank, Ranks
from bnkit.lab.probes.step_start import StepStart

Gradient = Mapping[str, Tensor]
_SAME = 1e-5  # relative l2 distance of two computations of one float32 gradient


class ProbedStep:
    """An optimizer step that probes replay.

    Every evaluation runs the step's batches in the modes, with the random draws and from the
    buffers that the step had, and takes the loss as the step does: the mean over the examples of
    all its batches, without weight decay. No gradient is accumulated into `.grad`.

    Args:
        network: unwrapped; its parameters are what the moment says they are.
        objective: how the loop runs the network on a batch.
        batches: of the step; several where gradients are accumulated.
        start: what the step began with.
        learning_rate: of the first parameter group, η; None if the loop does not tell it.
        plain_gradient: the step's gradient by parameter name if `.grad` still holds it unclipped,
            unscaled and without weight decay; None if it must be computed again.
        loss: of the step, where the loop knows it.
        weights: a copy of the parameters as they were before the update; None where there is none
            yet.
        ranks: who trains together; losses and gradients are means over them.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: Objective,
        batches: Sequence[Any],
        start: StepStart,
        *,
        learning_rate: float | None,
        plain_gradient: Gradient | None = None,
        loss: float | None = None,
        weights: dict[str, Tensor] | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self.network, self.objective, self.batches = network, objective, batches
        self.start, self._learning_rate = start, learning_rate
        self.weights = weights
        self._gradient = plain_gradient
        self._versions = _versions(plain_gradient or {})
        self._loss = loss
        self.ranks = ranks or OneRank()
        self._is_updated = self._is_exchanged = False

    @property
    def learning_rate(self) -> float:
        """The step's η, of the first parameter group."""
        if self._learning_rate is None:
            raise ProbeError("the learning rate is not known", required="needs learning-rate")
        return self._learning_rate

    def parameters(self) -> dict[str, Tensor]:
        """Return name → parameter, of those that require a gradient."""
        named = self.network.named_parameters()
        return {name: parameter for name, parameter in named if parameter.requires_grad}

    def gradient(self) -> Gradient:
        """Return the step's gradient by parameter name; not to be written to. Ask before moving.

        It is read off `.grad` where that is known to hold it. What the loss does not depend on is
        left out.

        Cost: nothing, or a forward and a backward, once.
        """
        if self._gradient is None:
            with self._as_it_began():
                self._loss, self._gradient = self.loss_and_gradient()
        return self._gradient

    def agrees(self, candidate: Gradient) -> bool:
        """Return whether a gradient is the step's, computed again, up to rounding.

        Cost: a forward and a backward, after which `gradient` costs nothing.
        """
        own = self.gradient()
        if own.keys() != candidate.keys():
            return False
        size = sum(float(each.double().square().sum()) for each in own.values())
        apart = sum(float((own[n] - candidate[n]).double().square().sum()) for n in own)
        return apart <= _SAME**2 * size

    def updated(self) -> None:
        """Tell that the optimizer has taken its step; `.grad` counts if nobody wrote to it."""
        self._is_updated = True
        if self._gradient is not None and self._versions != _versions(self._gradient):
            self._gradient = None

    def loss(self) -> float:
        """Return the step's loss at the weights it began with; ask before moving them.

        Cost: nothing where the loop gave it, else a forward, once.
        """
        if self._loss is None:
            with self._as_it_began():
                self._loss = self.loss_here()
        return self._loss

    @property
    def known_loss(self) -> float | None:
        """The step's loss where the loop told it, or something computed it; None otherwise."""
        return self._loss

    def loss_here(self) -> float:
        """Return the loss at the weights that the network has now. Cost: a forward."""
        with torch.no_grad():
            total = sum(share * loss.item() for share, loss in self._losses())
        return self.ranks.mean([total])[0]

    def loss_and_gradient(self, names: Iterable[str] | None = None) -> tuple[float, Gradient]:
        """Return loss and gradient at the weights that the network has now.

        Args:
            names: of the parameters whose gradient is wanted; None for all.

        Cost: a forward and a backward, which is shorter for parameters near the output.
        """
        known = self.parameters()
        wanted = known if names is None else {name: known[name] for name in names if name in known}
        total, summed = 0.0, dict[str, Tensor]()
        with torch.enable_grad():
            for share, loss in self._losses():
                total += share * loss.item()
                if not wanted or not loss.requires_grad:
                    continue
                gradients = torch.autograd.grad(
                    loss * share if share != 1 else loss, list(wanted.values()), allow_unused=True
                )
                for name, gradient in zip(wanted, gradients, strict=True):
                    if gradient is None:
                        continue
                    summed[name] = summed[name] + gradient if name in summed else gradient
        self.ranks.average([*summed.values()])
        return self.ranks.mean([total])[0], summed

    def run(self) -> None:
        """Run the step's forwards at the weights that the network has now, for what watches it."""
        with torch.no_grad():
            for index in range(len(self.batches)):
                with self._replayed(index) as batch:
                    self.objective.output(self.network, batch)

    @contextmanager
    def moved(self, direction: Gradient, distance: float) -> Iterator[None]:
        """Hold the network at w − distance · direction; put w back bit for bit.

        Args:
            direction: by parameter name.
            distance: usually a multiple of the learning rate.

        Cost: a copy of the parameters, kept until the step ends. After the update there are two:
        the one of before the update, and this one.
        """
        kept = self._kept()
        known = dict(self.network.named_parameters())
        try:
            for name, step in direction.items():
                known[name].data.copy_(kept[name]).add_(step.to(known[name].dtype), alpha=-distance)
            yield
        finally:
            for name in direction:
                known[name].data.copy_(kept[name])

    @contextmanager
    def before_update(self, names: Iterable[str] | None = None) -> Iterator[None]:
        """Hold parameters at their values before the update, then put those after it back.

        Values are exchanged in place, one parameter at a time, so nothing more is copied.

        Args:
            names: of the parameters; None for all.

        Raises:
            ProbeError: the probe did not say that it needs the `update`.
        """
        if self.weights is None:
            raise ProbeError("the weights before the update were not kept", required="needs update")
        chosen = list(self.weights) if names is None else [n for n in names if n in self.weights]
        before = self._is_updated, self._is_exchanged
        self._exchange(chosen)
        self._is_updated, self._is_exchanged = before[0] and names is not None, True
        try:
            yield
        finally:
            self._is_updated, self._is_exchanged = before
            self._exchange(chosen)

    def _exchange(self, names: Sequence[str]) -> None:
        assert self.weights is not None
        known = dict(self.network.named_parameters())
        for name in names:
            here = known[name].data
            held = here.clone()
            here.copy_(self.weights[name])
            self.weights[name].copy_(held)

    def _as_it_began(self) -> AbstractContextManager[None]:
        return self.before_update() if self._is_updated else nullcontext()

    def _kept(self) -> dict[str, Tensor]:
        """Return a copy of the weights that the network has now."""
        if self._is_updated or self._is_exchanged:
            return copied_parameters(self.network)
        if self.weights is None:
            self.weights = copied_parameters(self.network)
        return self.weights

    def shares(self) -> list[float]:
        """Return each batch's share of the step's examples."""
        counts = [self.objective.examples(batch) for batch in self.batches]
        total = sum(counts) or 1
        return [1.0] if len(counts) == 1 else [count / total for count in counts]

    @contextmanager
    def batch_loss(self, index: int) -> Iterator[Tensor]:
        """Give the loss of batch number `index` at the weights that the network has now.

        Batch 0 begins with the step's buffers, another with those that the network has. A backward
        belongs into the context: what it computes again needs the step's modes.
        """
        with self._replayed(index) as batch:
            loss = self.objective.loss(self.network, batch)
            refuse_no_scalar(loss)
            yield loss

    def _losses(self) -> Iterator[tuple[float, Tensor]]:
        """Yield each batch's share of the examples, and its loss."""
        for index, share in enumerate(self.shares()):
            with self.batch_loss(index) as loss:
                yield share, loss

    @contextmanager
    def _replayed(self, index: int) -> Iterator[Any]:
        """Give a batch, with the network and the random state as they were for it."""
        with self.start.modes(self.network):
            if index == 0:
                self.start.restore_buffers(self.network)
            self.start.restore_random_state(index)
            with self.start.autocast() if self.start.autocast else nullcontext():
                yield self.batches[index]


def _versions(gradient: Gradient) -> list[int]:
    # How often each tensor was written to: clipping and unscaling do so in place.
    return [each._version for each in gradient.values()]


def copied_parameters(network: nn.Module) -> dict[str, Tensor]:
    """Return name → a copy of each parameter."""
    return {name: each.detach().clone() for name, each in network.named_parameters()}


def refuse_no_scalar(loss: Any) -> None:
    """Raise `ProbeError` unless a loss is a tensor with one value."""
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        given = (
            f"is of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        )
        raise ProbeError(
            f"the loss {given}" if isinstance(loss, Tensor) else f"the loss is a {given}",
            required="a tensor with one value, the mean over the batch's examples",
            remedy="Reduce it with .mean()",
        )
