"""How much of a network's activations no gradient passes: saturated outputs and dead units."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from bnkit.errors import ProbeError
from bnkit.lab.probes.channels import channels_second, check_channel_axis
from bnkit.lab.probes.moment import Moment
from bnkit.lab.probes.places import Place, watched
from bnkit.lab.probes.probe import Cost, Measured, Probe

# Of the largest value that the derivative has.
_LEAST_SHARE = 0.01
_SIGMOID, _TANH, _RELU = "sigmoid", "tanh", "relu"
_MODULES: tuple[tuple[type[nn.Module], str], ...] = (
    (nn.Sigmoid, _SIGMOID),
    (nn.Tanh, _TANH),
    (nn.ReLU, _RELU),
    (nn.ReLU6, _RELU),
)


class Saturation(Probe):
    """The share of saturated outputs of sigmoid and tanh, and that of dead units of ReLU.

    "saturation" of a sigmoid or tanh layer is the share of its outputs y, over examples and units,
    at which the derivative, y(1 − y) or 1 − y², is below 1 % of its largest value, ¼ or 1. "dead
    units" of a ReLU layer is the share of its units (channels) that are 0 on all held-out examples,
    at all positions. Both on held-out data in eval mode; NaN activations give NaN. ReLU6 counts as
    ReLU, and a `BatchNormAct` as the activation that it holds.

    Options:
        examples: how many held-out examples; default 1,000. The more, the fewer units are dead.
        channel_axis: the axis of the units; default 1. Where features come last, as behind a linear
            layer over sequences, give −1.

    Raises:
        ProbeError: none of the layers named is one of these activations.

    Source: studies.md, Definitions of the probes.
    """

    kind = "saturation"
    needs = frozenset({"held-out"})

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        check_channel_axis(self.options["channel_axis"])

    def prepare(self, network: nn.Module) -> None:
        """Choose the layers: of those named, the outputs of sigmoid, tanh and ReLU.

        Raises:
            ProbeError: there is none.
        """
        super().prepare(network)
        named = [
            f"{side} of {path} ({type(network.get_submodule(path)).__name__})"
            for path, side in self.places
        ]
        self.places = tuple(
            Place(path, side)
            for path, side in self.places
            if side == "output" and activation_of(network.get_submodule(path))
        )
        if not self.places:
            raise ProbeError(
                f"layers = {self.layers!r} names {', '.join(named[:8])}",
                required="the output of a sigmoid, tanh or ReLU at least, as a module of its own",
            )

    def cost(self) -> Cost:
        """One forward over the held-out examples."""
        return Cost(forwards=1, note=f"over {self.options['examples']} held-out examples")

    def measure(self, moment: Moment) -> Iterator[Measured]:
        """Yield each layer's share of saturated outputs, or of dead units."""
        assert moment.held_out is not None
        counts = defaultdict[str, _Counts](_Counts)

        def see(place: Place, output: Tensor) -> None:
            activation = activation_of(moment.network.get_submodule(place.path))
            if activation == _RELU:
                axis = self.options["channel_axis"]
                counts[place.path].add_units(channels_second(output, axis or 1, place.path))
            elif activation:
                counts[place.path].add_outputs(output, activation)

        places = self.places_of(moment.network)
        with moment.in_eval() as network, watched(network, places, see):
            for batch in moment.held_out.batches(self.options["examples"]):
                moment.objective.output(network, batch)
        for place in places:
            if place.path in counts:
                yield from counts[place.path].shares(place.path)


class _Counts:
    """What has been seen of one layer."""

    def __init__(self) -> None:
        self._outputs = self._saturated = 0
        self._has_nan = False
        # Number of units → which of them were other than 0: a shared ReLU has several numbers.
        self._alive: dict[int, Tensor] = {}

    def add_outputs(self, y: Tensor, activation: str) -> None:
        """Count the outputs of a sigmoid or tanh."""
        self._has_nan |= bool(y.isnan().any())
        self._outputs += y.numel()
        self._saturated += int(is_saturated(y, activation).sum())

    def add_units(self, y: Tensor) -> None:
        """Mark which units of a ReLU, on the second axis, are other than 0."""
        if not y.numel():
            return
        self._has_nan |= bool(y.isnan().any())
        alive = (y != 0).any(dim=0).flatten(1).any(dim=1) if y.dim() > 2 else (y != 0).any(dim=0)
        former = self._alive.get(len(alive))
        self._alive[len(alive)] = alive if former is None else former | alive

    def shares(self, path: str) -> Iterator[Measured]:
        """Yield the layer's share."""
        if self._outputs:
            share = self._saturated / self._outputs
            yield Measured("saturation", float("nan") if self._has_nan else share, path)
        if self._alive:
            alive = torch.cat(list(self._alive.values()))
            share = 1 - int(alive.sum()) / len(alive)
            yield Measured("dead units", float("nan") if self._has_nan else share, path)


def activation_of(module: nn.Module) -> str:
    """Return which activation a layer ends with: sigmoid, tanh, relu; empty for all else."""
    for kind, name in _MODULES:
        if isinstance(module, kind):
            return name
    held = getattr(module, "activation", None)
    known = {_SIGMOID: _SIGMOID, _TANH: _TANH, _RELU: _RELU, "relu6": _RELU}
    is_fused = isinstance(module, nn.modules.batchnorm._BatchNorm) and isinstance(held, str)
    return known.get(held, "") if is_fused and isinstance(held, str) else ""


def is_saturated(y: Tensor, activation: str) -> Tensor:
    """Return at which outputs of a sigmoid or tanh the derivative is below 1 % of its largest."""
    wide = y.double() if y.device.type != "mps" else y.float()
    if activation == _SIGMOID:
        return wide * (1 - wide) < _LEAST_SHARE / 4
    return 1 - wide.square() < _LEAST_SHARE
