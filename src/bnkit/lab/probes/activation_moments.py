"""Mean and variance of each channel of what passes a layer, and how far channels' scales differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from bnkit.lab.probes.channels import (
    MomentsByLayer,
    channel_axis,
    channels_second,
    check_channel_axis,
)
from bnkit.lab.probes.moment import Moment
from bnkit.lab.probes.places import Place, watched
from bnkit.lab.probes.probe import Cost, Measured, Probe


class ActivationMoments(Probe):
    """Mean and variance per channel on held-out data, in eval mode.

    "activation mean" and "activation var" (Σ (x − mean)²/m over the m values of a channel) have two
    series per layer: over the channels the "mean" and the "spread", their standard deviation
    (divided by C); with `per_channel` also one for each channel, whose key is its number. "channel
    scales" is the largest standard deviation of a channel over the smallest: gradient descent on
    the weights behind channels of very different scales is badly conditioned. It is infinite where
    a channel is constant. NaN activations give NaN.

    Options:
        per_channel: whether each channel is recorded as well.
        examples: how many held-out examples; default 1,000.
        channel_axis: where the channels lie; default the last axis for linear, embedding, recurrent
            and attention layers and layer norm, the second for all else.

    Source: studies.md, Definitions of the probes; Kashaboina 2024 on the scales.
    """

    kind = "activation-moments"
    needs = frozenset({"held-out"})

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        check_channel_axis(self.options["channel_axis"])

    def cost(self) -> Cost:
        """One forward over the held-out examples."""
        return Cost(forwards=1, note=f"over {self.options['examples']} held-out examples")

    def measure(self, moment: Moment) -> Iterator[Measured]:
        """Yield each layer's moments and the ratio of its scales."""
        moments = self._moments(moment)
        for place in self.places_of(moment.network):
            parts = moments.of(place.path)
            if not parts:
                continue
            mean = torch.cat([part.mean for part in parts])
            var = torch.cat([part.squares / part.count for part in parts])
            yield from self._summary("activation mean", place.path, mean)
            yield from self._summary("activation var", place.path, var)
            std = var.sqrt()
            yield Measured("channel scales", (std.max() / std.min()).item(), place.path)

    def _summary(self, metric: str, path: str, values: Tensor) -> Iterator[Measured]:
        yield Measured(metric, values.mean().item(), path, "mean")
        yield Measured(metric, values.std(correction=0).item(), path, "spread")
        if self.options["per_channel"]:
            for channel, value in enumerate(values.tolist()):
                yield Measured(metric, value, path, str(channel))

    def _moments(self, moment: Moment) -> MomentsByLayer:
        assert moment.held_out is not None
        found = MomentsByLayer()

        def see(place: Place, tensor: Tensor) -> None:
            if not tensor.is_floating_point():  # indices, as an embedding takes
                return
            axis = self.options["channel_axis"]
            if axis is None:
                axis = channel_axis(moment.network.get_submodule(place.path))
            found.add(place.path, channels_second(tensor, axis, place.path))

        places = self.places_of(moment.network)
        with moment.in_eval() as network, watched(network, places, see):
            for batch in moment.held_out.batches(self.options["examples"]):
                moment.objective.output(network, batch)
        return found
