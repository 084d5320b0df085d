"""Whether batch norms meet the variance in eval mode that they were trained with."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from bnkit.lab.probes.classified import examples_option
from bnkit.lab.probes.moment import Moment
from bnkit.lab.probes.places import Place, watched
from bnkit.lab.probes.probe import Cost, Measured, Probe


class VarianceShift(Probe):
    """The running variance of batch norms against the variance of their inputs in eval mode.

    With v the running variance of a channel, w the variance of what it receives in eval mode on the
    training data, and r = (v + eps)/(w + eps): "variance shift" of a layer is the mean of
    max(r, 1/r) over its channels, 1 where nothing shifts; "mean variance shift" is the mean over
    the layers. w divides by m − 1, as the running variance does. Both are of the same data, so that
    they differ by what the modes do: dropout scales what it keeps by 1/(1 − p), which leaves the
    mean and multiplies E[x²] by 1/(1 − p) in training alone. A layer without running statistics is
    not recorded.

    Options:
        examples: how many training examples, from the beginning; default all.

    Source: Li et al. 2019, "Understanding the disharmony between dropout and batch normalization by
    variance shift".
    """

    kind = "variance-shift"
    needs = frozenset({"training"})

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.examples = examples_option(self.kind, self.options["examples"])

    def cost(self) -> Cost:
        """One forward over the training examples."""
        return Cost(forwards=1, note="over the training examples")

    def measure(self, moment: Moment) -> Iterator[Measured]:
        """Yield the shift of each layer, then their mean."""
        received = self._received(moment)
        shifts = []
        for path, moments in received.items():
            layer = moment.network.get_submodule(path)
            assert isinstance(layer, _BatchNorm)
            assert layer.running_var is not None
            shifts.append(variance_shift(layer.running_var, moments.unbiased_var, layer.eps))
            yield Measured("variance shift", shifts[-1], path)
        if shifts:
            yield Measured("mean variance shift", sum(shifts) / len(shifts))

    def _received(self, moment: Moment) -> dict[str, _ChannelMoments]:
        assert moment.training is not None
        received: dict[str, _ChannelMoments] = {}

        def see(place: Place, tensor: Tensor) -> None:
            received.setdefault(place.path, _ChannelMoments()).add(tensor)

        places = [
            Place(place.path, "input")
            for place in self.places_of(moment.network)
            if isinstance(layer := moment.network.get_submodule(place.path), _BatchNorm)
            and layer.running_var is not None
        ]
        with moment.in_eval() as network, watched(network, places, see):
            for batch in moment.training.batches(self.examples):
                moment.objective.output(network, batch)
        return {place.path: received[place.path] for place in places if place.path in received}


def variance_shift(running_var: Tensor, var: Tensor, eps: float) -> float:
    """Return the mean of max(r, 1/r) over channels, r = (running_var + eps)/(var + eps).

    Args:
        running_var, var: shape (C,).
        eps: of the layer.
    """
    ratio = (running_var.double() + eps) / (var.to(running_var.device).double() + eps)
    return float(torch.maximum(ratio, 1 / ratio).mean())


class _ChannelMoments:
    """Count, mean and summed squared deviations per channel, in float64; batches are merged.

    Source: Chan, Golub and LeVeque 1983, the pairwise update.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: Tensor | float = 0.0
        self.squares: Tensor | float = 0.0

    def add(self, input: Tensor) -> None:
        values = input.detach().double().transpose(0, 1).flatten(1)
        count = values.shape[1]
        if not count:
            return
        mean = values.mean(1)
        delta = mean - self.mean
        total = self.count + count
        squares = ((values - mean[:, None]) ** 2).sum(1)
        self.squares = self.squares + squares + delta**2 * (self.count * count / total)
        self.mean = self.mean + delta * (count / total)
        self.count = total

    @property
    def unbiased_var(self) -> Tensor:
        assert isinstance(self.squares, Tensor)
        return self.squares / (self.count - 1) if self.count > 1 else self.squares * math.nan
