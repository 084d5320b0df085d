"""One pass over the user's data: population statistics of every batch norm, and what else is asked.

Each batch is run with batch norms normalizing by the batch and everything else in eval mode. So the
staleness of one layer's statistics does not reach the next layer, and dropout changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnkit.errors import ForwardError
from bnkit.inspection.batches import Batch, batches_of
from bnkit.inspection.facts.data import DataFacts, Domain, Population
from bnkit.inspection.preserve import preserve
from bnkit.inspection.train_eval_gap import GapMeasurement


class Measurement(Protocol):
    """Something measured during the pass; `read_data` runs each on every batch.

    It may run the model as often as it needs: the batch norms normalize by the batch when it is
    called, and what it changes of their modes it must change back.
    """

    def measure(self, model: nn.Module, batch: Batch) -> None:
        """Run the model on a batch and keep what was found."""


def read_data(
    model: nn.Module,
    first: Batch,
    others: Iterable[Batch],
    *,
    domains: Mapping[str, Any] | None = None,
    batch_size: int | None = None,
) -> DataFacts:
    """Pass over the data once and return what was found; the model is left as it was.

    Args:
        model: what is measured.
        first, others: the batches; `first` has been traced already.
        domains: name → data of one domain, each of any form that data can have.
        batch_size: of domains that are not in batches yet.

    Raises:
        ForwardError: the forward raised, or a batch had one value per channel.

    Cost: one forward per batch, three until the gap between the modes has been measured.
    """
    populations = PopulationMeasurement()
    gap = GapMeasurement()
    measurements: list[Measurement] = [populations, gap]
    totals = _pass(model, chain([first], others), measurements)
    found: tuple[Domain, ...] | None = None
    if domains is not None:
        found = tuple(
            _domain(model, name, batches_of(model, data, batch_size))
            for name, data in domains.items()
        )
    return DataFacts(
        samples=totals.samples,
        batches=totals.batches,
        is_labelled=first.labels is not None,
        populations=populations.result(),
        domains=found,
        gap=gap.result(),
        gap_error=gap.error,
    )


@dataclass
class _Totals:
    samples: int = 0
    batches: int = 0


def _pass(
    model: nn.Module, batches: Iterable[Batch], measurements: Iterable[Measurement]
) -> _Totals:
    totals = _Totals()
    with preserve(model), torch.no_grad(), batch_statistics(model):
        for batch in batches:
            for measurement in measurements:
                try:
                    measurement.measure(model, batch)
                except Exception as error:
                    raise ForwardError(
                        f"forward raised {type(error).__name__} on batch {totals.batches + 1} of "
                        f"data: {str(error).strip()}",
                        required="with batch norms in training mode it must run on every batch",
                        remedy="Give batches of at least two samples each",
                    ) from error
            totals.samples += batch.size
            totals.batches += 1
    return totals


def _domain(model: nn.Module, name: str, batches: Iterator[Batch]) -> Domain:
    populations = PopulationMeasurement()
    totals = _pass(model, batches, [populations])
    return Domain(name, totals.samples, populations.result())


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Put a model into eval mode with its batch norms normalizing by the batch.

    Those that are kept in eval mode, in a model that is in training mode, stay in it. Running
    statistics do not move meanwhile. The caller preserves the model: nothing is put back here.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    frozen = {id(norm) for norm in norms if model.training and not norm.training}
    model.eval()
    for norm in norms:
        norm.train(id(norm) not in frozen)
        norm.momentum = 0.0
    yield


@dataclass
class _Sums:
    """Statistics of what has been seen of one layer's input, merged by Chan's formula."""

    count: int = 0
    mean: Tensor = field(default_factory=lambda: torch.zeros(()))
    squares: Tensor = field(default_factory=lambda: torch.zeros(()))

    def add(self, x: Tensor) -> None:
        by_channel = x.detach().transpose(0, 1).flatten(1).double()
        var, mean = torch.var_mean(by_channel, 1, correction=0)
        count = by_channel.shape[1]
        total = self.count + count
        delta = mean - self.mean
        self.squares = self.squares + var * count + delta.square() * (self.count * count / total)
        self.mean = self.mean + delta * (count / total)
        self.count = total


class PopulationMeasurement:
    """Mean and variance of everything that goes into each batch norm.

    var = Σ (x − mean)²/m over all batches: the spread of batch means is in it, and each batch
    counts by its size.
    """

    def __init__(self) -> None:
        self._sums: dict[str, _Sums] = {}

    def measure(self, model: nn.Module, batch: Batch) -> None:
        """Run the model on a batch and add what went into its batch norms."""
        handles = []

        def watch(path: str, layer: nn.Module) -> None:
            def see(_: nn.Module, args: tuple[Any, ...]) -> None:
                if args and isinstance(args[0], Tensor) and args[0].numel():
                    self._sums.setdefault(path, _Sums()).add(args[0])

            handles.append(layer.register_forward_pre_hook(see))

        for path, layer in model.named_modules():
            if isinstance(layer, _BatchNorm):
                watch(path, layer)
        try:
            model(*batch.args, **batch.kwargs)
        finally:
            for handle in handles:
                handle.remove()

    def result(self) -> tuple[Population, ...]:
        """Return the statistics of each layer that ran, in the order in which they first did."""
        return tuple(
            Population(
                path,
                sums.count,
                tuple(sums.mean.tolist()),
                tuple((sums.squares / sums.count).tolist()),
            )
            for path, sums in self._sums.items()
        )
