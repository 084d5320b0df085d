"""How long each layer's gradient is."""

from __future__ import annotations

import math
from collections.abc import Iterator

from bnkit.lab.probes.moment import Moment
from bnkit.lab.probes.places import own_parameters
from bnkit.lab.probes.probe import Cost, Measured, Probe


class GradientNorms(Probe):
    """The l2 norm of the loss's gradient per layer's weight.

    "gradient norm" of a layer is ‖∂L/∂W‖₂ over its parameters of two axes or more (a bias is none);
    "gradient norm ratio" is the first chosen layer's over the last's, in the order of the network's
    modules. A layer that the loss does not depend on, or that is frozen, is not recorded.

    Source: studies.md, Definitions of the probes.
    """

    kind = "gradient-norms"
    needs = frozenset({"gradient"})

    def cost(self) -> Cost:
        """Nothing beyond the step where `.grad` holds its gradient, else one pass."""
        return Cost(note="a forward and a backward where gradients are clipped or scaled")

    def measure(self, moment: Moment) -> Iterator[Measured]:
        """Yield the norm of each layer, then the first over the last."""
        assert moment.step is not None
        gradient = moment.step.gradient()
        norms = []
        for place in self.places_of(moment.network):
            module = moment.network.get_submodule(place.path)
            own = own_parameters(module, place.path)
            names = [name for name, parameter in own.items() if parameter.dim() > 1]
            parts = [gradient[name].double().norm().item() for name in names if name in gradient]
            if parts:
                norms.append(math.hypot(*parts))
                yield Measured("gradient norm", norms[-1], place.path)
        if len(norms) > 1:
            ratio = norms[0] / norms[-1] if norms[-1] else math.nan
            yield Measured("gradient norm ratio", ratio)
