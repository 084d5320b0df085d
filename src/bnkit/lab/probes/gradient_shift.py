"""How the update of the layers before it changes a layer's gradient."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import nn

from bnkit.lab.probes.moment import Moment
from bnkit.lab.probes.places import own_parameters
from bnkit.lab.probes.preceding_updates import gradients_after_preceding
from bnkit.lab.probes.probe import Cost, Measured, Probe
from bnkit.lab.probes.probed_step import Gradient
from bnkit.lab.probes.vectors import cosine, difference, norm


class GradientShift(Probe):
    """Internal covariate shift as a change of gradients, of each layer.

    G is the gradient of the layer's weights at a step; G′ that of the same weights on the same
    batch, after only the layers that precede it took the optimizer's actual step. "gradient shift"
    is ‖G − G′‖₂, "relative gradient shift" that over ‖G‖₂, "gradient cosine" cos(G, G′).

    A layer's weights are its parameters of two axes or more; of one that has none, all. It is
    preceded by the parameters that the forward uses before it first uses one of its own; γ and β of
    a batch norm that it feeds stay, also where that batch norm was in use before. What nothing
    precedes has a shift of 0. A layer that the loss does not depend on is not recorded. "mean
    relative gradient shift" and "mean gradient cosine" are means over the layers that something
    precedes.

    Source: Santurkar et al. 2018, Definition 2.1; studies.md, Definitions of the probes.
    """

    kind = "gradient-shift"
    needs = frozenset({"update"})

    def cost(self) -> Cost:
        """A forward at the new weights, then a forward and a backward from each layer on.

        For a chain of k layers alike these are about k/2 passes. In a network whose work is done
        outside of modules of torch and bnkit they are up to k.
        """
        count = len(self.places)
        note = (
            "for a chain of layers alike; up to a pass per layer for modules of one's own, and one "
            "more where .grad does not hold the step's gradient"
        )
        return Cost(forwards=1 + count / 2, backwards=count / 2, copies=1, note=note)

    def measure(self, moment: Moment) -> Iterator[Measured]:
        """Yield each layer's shift, absolute and relative, and the cosine."""
        assert moment.step is not None
        gradient = moment.step.gradient()
        layers: dict[str, Gradient] = {}
        for place in self.places_of(moment.network):
            names = weights_of(moment.network, place.path)
            if known := {name: gradient[name] for name in names if name in gradient}:
                layers[place.path] = known
        shifted = gradients_after_preceding(moment.step, {p: [*g] for p, g in layers.items()})
        relatives, cosines = [], []
        for path, before in layers.items():
            after = shifted.get(path, before)
            shift, length = norm(difference(before, after)), norm(before)
            relative, angle = shift / length if length else math.nan, cosine(before, after)
            yield Measured("gradient shift", shift, path)
            yield Measured("relative gradient shift", relative, path)
            yield Measured("gradient cosine", angle, path)
            if path in shifted:
                relatives.append(relative)
                cosines.append(angle)
        if relatives:
            yield Measured("mean relative gradient shift", sum(relatives) / len(relatives))
            yield Measured("mean gradient cosine", sum(cosines) / len(cosines))


def weights_of(network: nn.Module, path: str) -> list[str]:
    """Return the names of a layer's own parameters of two axes or more; without any, of all."""
    named = own_parameters(network.get_submodule(path), path)
    return [name for name, each in named.items() if each.dim() > 1] or [*named]
