"""The loss on a plane around the weights that a training arrived at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bnkit.errors import ProbeError
from bnkit.inspection.families import BATCH_NORM, module_family
from bnkit.lab.probes.moment import Moment
from bnkit.lab.probes.probe import Cost, Measured, Probe
from bnkit.lab.probes.probed_step import copied_parameters, refuse_no_scalar
from bnkit.rewrite import recalibrate

STATISTICS = ("kept", "recomputed")


class LossSurface(Probe):
    """The loss on training examples at w + x·d₁ + y·d₂, in eval mode.

    d₁ and d₂ are drawn from N(0, 1) and normalized by filters: each filter of a direction, d[j] of
    a parameter's first axis, gets the norm of the filter w[j]. Parameters of one axis (biases, γ
    and β) do not move. "loss surface" has a value per point, with the key "x,y".

    The directions come from a generator of their own, so that arms with the same weights look along
    the same directions.

    Options:
        span: x and y go from −span to span; default 1.
        points: along each axis; default 11. An odd number has the weights themselves in the middle.
        examples: how many training examples; default 500.
        statistics: `kept`: batch norms normalize by their running statistics as they are
            (the default); `recomputed`: at each point these become the population statistics of the
            examples there, as `bnkit.recalibrate` takes them.
        seed: of the directions; default 0.

    Source: Li et al. 2018, "Visualizing the Loss Landscape of Neural Nets", section 4.
    """

    kind = "loss-surface"
    needs = frozenset({"training"})

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        options = self.options
        if options["statistics"] not in STATISTICS:
            raise ProbeError(
                f"statistics = {options['statistics']!r}",
                required=f"one of {', '.join(STATISTICS)}",
            )
        if options["points"] < 2 or options["examples"] < 1 or not 0 < options["span"] < np.inf:
            given_values = {name: options[name] for name in ("points", "examples", "span")}
            raise ProbeError(
                ", ".join(f"{name} = {value!r}" for name, value in given_values.items()),
                required="at least 2 points along an axis, 1 example, and a span above 0",
            )

    def cost(self) -> Cost:
        """One forward over the examples per point, two where statistics are recomputed."""
        passes = self.options["points"] ** 2
        passes *= 2 if self.options["statistics"] == "recomputed" else 1
        note = f"over {self.options['examples']} training examples"
        return Cost(forwards=passes, copies=1, note=note)

    def measure(self, moment: Moment) -> Iterator[Measured]:
        """Return the loss at each point of the plane."""
        # The network itself moves: a closure may call it by a name of its own.
        network, weights = moment.network, copied_parameters(moment.network)
        span, points = self.options["span"], self.options["points"]
        axis = [float(x) for x in np.linspace(-span, span, points)]
        found = []
        try:
            for x, y in product(axis, axis):
                place_on_plane(network, weights, x, y, self.options["seed"])
                loss = self._loss(network, moment)
                found.append(Measured("loss surface", loss, key=f"{x:g},{y:g}"))
        finally:
            for name, parameter in network.named_parameters():
                parameter.data.copy_(weights[name])
        return iter(found)

    def _loss(self, network: nn.Module, moment: Moment) -> float:
        assert moment.training is not None
        objective, examples = moment.objective, self.options["examples"]
        total, count = 0.0, 0
        with torch.no_grad():
            if self.options["statistics"] == "recomputed" and _keeps_statistics(network):
                data = moment.training.batches(examples)
                recalibrate(
                    network, data, forward_fn=objective.output, inplace=True, progress=False
                )
            for batch in moment.training.batches(examples):
                size = objective.examples(batch)
                loss = objective.loss(network.eval(), batch)
                refuse_no_scalar(loss)
                total += size * loss.item()
                count += size
        return total / count


def place_on_plane(
    network: nn.Module, weights: Mapping[str, Tensor], x: float, y: float, seed: int
) -> None:
    """Write w + x·d₁ + y·d₂ into a network's parameters; directions are drawn anew each time.

    Args:
        network: written to, uncounted by autograd.
        weights: w by parameter name.
        x, y: the place on the plane.
        seed: of the directions.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            center, here = weights[name], parameter.data
            here.copy_(center)
            if center.dim() > 1 and center.is_floating_point():
                for share in (x, y):
                    here.add_(filter_direction(center, generator), alpha=share)


def filter_direction(weight: Tensor, generator: torch.Generator) -> Tensor:
    """Return d · ‖w[j]‖/‖d[j]‖ per index j of the first axis, with d ~ N(0, 1) in float32.

    Args:
        weight: shape (F, …), two axes or more.
        generator: on the CPU, so that all devices have the same directions.
    """
    drawn = torch.randn(weight.shape, generator=generator).to(weight.device, torch.float64)
    filters, own = drawn.flatten(1), weight.detach().double().flatten(1)
    lengths = filters.norm(dim=1, keepdim=True)
    factors = own.norm(dim=1, keepdim=True) / torch.where(lengths > 0, lengths, 1.0)
    scaled: Tensor = filters * factors
    return scaled.reshape(weight.shape).to(weight.dtype)


def _keeps_statistics(network: nn.Module) -> bool:
    return any(
        module_family(module) == BATCH_NORM and getattr(module, "running_mean", None) is not None
        for module in network.modules()
    )
