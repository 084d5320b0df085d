"""Where a layer's activations lie, and whether they stay there."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bnkit.errors import ProbeError
from bnkit.lab.probes.moment import Moment
from bnkit.lab.probes.places import Place, watched
from bnkit.lab.probes.probe import Cost, Measured, Probe


class ActivationPercentiles(Probe):
    """Percentiles of a layer's output on held-out data, in eval mode.

    "activation percentile" has one series per layer and percentile, over all examples and units
    (linear interpolation between order statistics). "activation unsteadiness" is recorded once, at
    the end: the mean |Δ percentile| between measurements over the mean distance of the outermost
    percentiles; a smaller number is steadier. The untrained network does not enter it: in eval mode
    its batch norms normalize by statistics that no data went into. NaN activations give NaN
    percentiles.

    Options:
        percentiles: which, from 0 to 100; default 15, 50, 85.
        examples: how many held-out examples; default 1,000.

    Source: Ioffe and Szegedy 2015, figure 1; studies.md, Definitions of the probes.
    """

    kind = "activation-percentiles"
    needs = frozenset({"held-out"})

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.percentiles = sorted({float(each) for each in self.options["percentiles"]})
        if not all(0 <= each <= 100 for each in self.percentiles):
            raise ProbeError(
                f"percentiles = {self.options['percentiles']!r}", required="numbers from 0 to 100"
            )
        self._history: dict[str, list[NDArray[np.float64]]] = {}

    def cost(self) -> Cost:
        """One forward over the held-out examples."""
        return Cost(forwards=1, note=f"over {self.options['examples']} held-out examples")

    def measure(self, moment: Moment) -> Iterator[Measured]:
        """Yield each layer's percentiles."""
        for path, values in self._activations(moment).items():
            found = percentiles_of(values, self.percentiles)
            if moment.place.step > 0:
                self._history.setdefault(path, []).append(found)
            for percentile, value in zip(self.percentiles, found, strict=True):
                yield Measured("activation percentile", float(value), path, f"{percentile:g}")

    def conclude(self) -> Iterator[Measured]:
        """Yield each layer's unsteadiness over all measurements."""
        for path, history in self._history.items():
            if len(history) > 1 and len(self.percentiles) > 1:
                yield Measured("activation unsteadiness", unsteadiness(np.stack(history)), path)

    def _activations(self, moment: Moment) -> dict[str, NDArray[Any]]:
        assert moment.held_out is not None
        seen: dict[str, list[NDArray[Any]]] = {}

        def see(place: Place, tensor: Tensor) -> None:
            seen.setdefault(place.path, []).append(tensor.detach().float().cpu().numpy().ravel())

        places = self.places_of(moment.network)
        with moment.in_eval() as network, watched(network, places, see):
            for batch in moment.held_out.batches(self.options["examples"]):
                moment.objective.output(network, batch)
        order = [place.path for place in places if place.path in seen]
        return {path: np.concatenate(seen[path]) for path in order}


def percentiles_of(values: NDArray[Any], percentiles: list[float]) -> NDArray[np.float64]:
    """Return percentiles of values, shape (P,); NaN if a value is NaN."""
    if np.isnan(values).any():
        return np.full(len(percentiles), math.nan)
    return np.asarray(np.percentile(values, percentiles), dtype=np.float64)


def unsteadiness(history: NDArray[np.float64]) -> float:
    """Return mean |Δ percentile| between measurements over the mean width; NaN if that is 0.

    Args:
        history: percentiles in ascending order, shape (T, P); rows that are not finite are left
            out.
    """
    history = history[np.isfinite(history).all(axis=1)]
    width = (history[:, -1] - history[:, 0]).mean() if len(history) > 1 else 0.0
    return float(np.abs(np.diff(history, axis=0)).mean() / width) if width > 0 else math.nan
