"""Batch norms normalized by the statistics of many training images in place of the batch's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from bnkit.lab.training.batches import Split
from bnkit.lab.training.computation import Computation

# studies.md, Definitions of the probes: 4,096 fixed training images, or all if there are fewer.
FULL_BATCH_IMAGES = 4096
_FLOAT32 = Computation()


class FullBatchNorm(_BatchNorm):
    """A batch norm whose training statistics may be given; mixed into a class of bnkit's.

    y = (x − μ)/√(σ² + eps)·weight + bias, with μ and σ² the statistics given. The gradient takes
    them for the batch's own: it goes through the batch's mean and variance, at the given values.
    With the batch's own statistics given, output and gradient are those of batch norm.

    While none are given, in eval mode, and while statistics are collected, it is the batch norm
    that it is mixed into; only then do its running statistics move.

    Attributes:
        given: mean and var (divided by m) that normalize, shape (C,) each; None for the batch's.
        is_collecting: whether the next forward takes the statistics of its batch to be given.
    """

    given: tuple[Tensor, Tensor] | None = None
    is_collecting: bool = False

    def forward(self, input: Tensor) -> Tensor:
        """Normalize by the statistics given, or as the batch norm would."""
        if self.training and self.is_collecting:
            self.given = _statistics(input.detach())
        elif self.training and self.given is not None:
            return self._normalize_by(input, *self.given)
        return super().forward(input)

    def _normalize_by(self, input: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        shape = (1, -1, *[1] * (input.dim() - 2))
        own_mean, own_var = _statistics(input)
        # The value is that given, the gradient that of the batch's own.
        mean, var = own_mean + (mean - own_mean).detach(), own_var + (var - own_var).detach()
        scale = torch.rsqrt(var + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        output = (input - mean.view(shape)) * scale.view(shape)
        if self.bias is not None:
            output = output + self.bias.view(shape)
        return output.to(input.dtype)


class FullBatch:
    """Gives a network's full-batch norms their statistics, step by step.

    Args:
        network: in training; networks without a `FullBatchNorm` cost nothing.
        train_split: of which up to 4,096 images are taken, always the same.
        computation: how the forward runs.
    """

    def __init__(
        self, network: torch.nn.Module, train_split: Split, computation: Computation = _FLOAT32
    ) -> None:
        self._network, self._computation = network, computation
        self._norms = [m for m in network.modules() if isinstance(m, FullBatchNorm)]
        self._images = full_batch_images(train_split) if self._norms else None

    def refresh(self) -> None:
        """Run the network on the images in training mode and keep each layer's statistics.

        Each layer normalizes by the statistics of all images on the way, so that those of the
        layers behind it are what the whole set gives. Running statistics move by this pass alone.
        What draws random numbers (dropout) draws none of the training's.

        Cost: one forward over the images, at once.
        """
        if self._images is None:
            return
        devices = [self._images.device] if self._images.is_cuda else []
        with torch.random.fork_rng(devices=devices), torch.no_grad(), self._collecting():
            self._computation.run(self._network, self._images)

    @contextmanager
    def _collecting(self) -> Iterator[None]:
        for norm in self._norms:
            norm.is_collecting = True
        try:
            yield
        finally:
            for norm in self._norms:
                norm.is_collecting = False


def full_batch_images(split: Split) -> Tensor:
    """Return up to 4,096 images, drawn in a way that depends on their number alone."""
    if len(split) <= FULL_BATCH_IMAGES:
        return split.images
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))
    return split.images[order[:FULL_BATCH_IMAGES].to(split.images.device)]


def _statistics(input: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and var, which divides by m, per channel, in float32 or above."""
    axes = [0, *range(2, input.dim())]
    values = input if input.dtype == torch.float64 else input.float()
    var, mean = torch.var_mean(values, axes, correction=0)
    return mean, var
