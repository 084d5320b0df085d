"""How far a batch norm's running statistics are from those of the population."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnkit.lab.probes.channels import MomentsByLayer
from bnkit.lab.probes.moment import Moment
from bnkit.lab.probes.probe import Cost, Measured, Probe
from bnkit.rewrite.statistics.channel_moments import Moments
from bnkit.rewrite.statistics.layer_statistics import layers_to_estimate
from bnkit.rewrite.statistics.statistics_pass import normalizing_by_batch, watched_inputs


class StatisticsDistance(Probe):
    """The distance of running statistics from population statistics, per batch norm.

    "running mean distance" is |running mean − μ| / σ and "running variance distance" |ln(running
    variance / σ²)|, each the median over the channels. μ and σ² (divided by M − 1) are those of all
    that the layer receives from the training examples, in float64, while every batch norm
    normalizes by the batch, as in training, and all else is in eval mode: the estimate of
    `bnkit.recalibrate`. A study takes batches as large as those it trains on. A constant channel
    has no σ and is left out; NaN activations give NaN.

    Layers that keep no running statistics, or are frozen, are not recorded, nor is what an arm put
    in the place of a batch norm.

    Options:
        examples: how many training examples; default 1,000.

    Source: studies.md, Definitions of the probes; Wu and Johnson 2021, "Rethinking 'Batch' in
    BatchNorm", who find 10³ to 10⁴ examples enough.
    """

    kind = "statistics-distance"
    needs = frozenset({"training"})

    def cost(self) -> Cost:
        """One forward over the training examples."""
        return Cost(forwards=1, note=f"over {self.options['examples']} training examples")

    def measure(self, moment: Moment) -> Iterator[Measured]:
        """Yield each layer's distances."""
        every, _ = (
            layers_to_estimate(moment.network, None) if _has_any(moment.network) else ({}, {})
        )
        # Before the pass: a subclass with a forward of its own may move them in it.
        running = {path: running_statistics(layer) for path, layer in every.items()}
        received = self._received(moment, every)
        wanted = [p.path for p in self.places_of(moment.network) if p.path in every]
        for path in dict.fromkeys(wanted):
            for moments in received.of(path):
                mean, variance = distances(*running[path], moments)
                yield Measured("running mean distance", mean, path)
                yield Measured("running variance distance", variance, path)

    def _received(self, moment: Moment, layers: dict[str, _BatchNorm]) -> MomentsByLayer:
        assert moment.training is not None
        found = MomentsByLayer()

        def see(path: str, x: Tensor) -> None:
            if x.dim() > 1:
                found.add(path, x)

        if not layers:
            return found
        with moment.in_eval(), normalizing_by_batch(layers), watched_inputs(layers, see):
            for batch in moment.training.batches(self.options["examples"]):
                if moment.objective.examples(batch) > 1:  # one alone cannot be normalized
                    moment.objective.output(moment.network, batch)
        return found


def running_statistics(layer: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Return running mean and variance, (C,), copied, in float64 on the CPU."""
    assert layer.running_mean is not None
    assert layer.running_var is not None
    pair = layer.running_mean.detach().cpu(), layer.running_var.detach().cpu()
    mean, var = (each.to(torch.float64, copy=True) for each in pair)
    return mean, var


def distances(mean: Tensor, var: Tensor, received: Moments) -> tuple[float, float]:
    """Return |Δ mean|/σ and |ln variance ratio| of running statistics, medians over channels.

    Args:
        mean, var: running, (C,), float64.
        received: by the layer.
    """
    has_sigma = ~(received.squares == 0)  # NaN stays
    population = received.var[has_sigma]
    of_mean = (mean - received.mean)[has_sigma].abs() / population.sqrt()
    of_var = (var[has_sigma] / population).log().abs()
    return _median(of_mean), _median(of_var)


def _median(values: Tensor) -> float:
    """Return the median, of an even number the mean of the middle two; NaN of none or with NaN."""
    return float(torch.quantile(values, 0.5)) if values.numel() else float("nan")


def _has_any(network: nn.Module) -> bool:
    return any(isinstance(module, _BatchNorm) for module in network.modules())
