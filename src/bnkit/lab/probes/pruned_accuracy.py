"""What a network can do without its channels of smallest γ, smallest weights, or any others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from bnkit.errors import ProbeError, RewriteError
from bnkit.lab.probes.classified import Labelled, all_labelled, examples_option, predictions
from bnkit.lab.probes.moment import Moment
from bnkit.lab.probes.objective import EVALUATION_BATCH, Objective
from bnkit.lab.probes.probe import Cost, Measured, Probe
from bnkit.rewrite import Pruning, prune

_EXAMPLE_SIZE = 4
_SCOPES = ("layer", "global")
WAYS = ("scale", "norm", "random")


class PrunedAccuracy(Probe):
    """Accuracy on held-out data, in eval mode, after channels were pruned and nothing retrained.

    The channels that go are those of smallest |γ| (`scale`), of smallest l2 norm of the weights
    that make them (`norm`), or drawn (`random`, the mean over several draws); all three prune the
    same layers, those that |γ| can prune. A channel that goes leaves act(β) behind where it had a
    batch norm, as `bnkit.prune` does it. Keys are way and share, such as "scale 0.5". "accuracy
    lost to pruning" is the accuracy of the whole network less the pruned one's. Where no batch norm
    has γ there is NaN for `scale`.

    Options:
        amounts: shares of the channels that go; default 0.25 and 0.5.
        draws: how many random choices are averaged; default 3.
        scope: "layer" (default), the same share of each layer; "global", ranked over all of them.
        examples: how many held-out examples, from the beginning; default all.

    Raises:
        ProbeError: a share outside (0, 1), no draws, no such scope; when it runs: the network has
            no channels that can be pruned, with the reason.

    Source: Liu et al. 2017, "Network Slimming", for |γ|; Li et al. 2017, "Pruning Filters for
        Efficient ConvNets", for the norm of weights.
    """

    kind = "pruned-accuracy"
    needs = frozenset({"held-out"})

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.examples = examples_option(self.kind, self.options["examples"])
        self.amounts = sorted({float(amount) for amount in self.options["amounts"]})
        self.draws, self.scope = self.options["draws"], self.options["scope"]
        if not all(0 < amount < 1 for amount in self.amounts):
            raise ProbeError(
                f"amounts = {self.options['amounts']!r}",
                required="shares of the channels, above 0 and below 1",
            )
        if self.draws < 1:
            raise ProbeError(f"draws = {self.draws}", required="a whole number from 1 on")
        if self.scope not in _SCOPES:
            raise ProbeError(f"scope = {self.scope!r}", required=f"one of {', '.join(_SCOPES)}")

    def cost(self) -> Cost:
        """A forward over the held-out examples for each pruned network, one pruned at a time."""
        prunings = len(self.amounts) * (len(WAYS) - 1 + self.draws)
        return Cost(
            forwards=1 + prunings,
            copies=1,
            note=f"over the held-out examples, and {prunings} prunings of about sixteen forwards of"
            f" {_EXAMPLE_SIZE} examples",
        )

    def measure(self, moment: Moment) -> Iterator[Measured]:
        """Yield the accuracy for each way and share, and what was lost."""
        assert moment.held_out is not None
        data = all_labelled(moment.held_out, self.examples)
        with moment.in_eval() as network:
            whole = accuracy(network, moment.objective, data)
            example = data.images[:_EXAMPLE_SIZE]
            for amount in self.amounts:
                found = self._accuracies(network, moment.objective, data, example, amount)
                for way, value in found.items():
                    key = f"{way} {amount:g}"
                    yield Measured("pruned accuracy", value, key=key)
                    yield Measured("accuracy lost to pruning", whole - value, key=key)

    def _accuracies(
        self,
        network: nn.Module,
        objective: Objective,
        data: Labelled,
        example: Tensor,
        share: float,
    ) -> dict[str, float]:
        """Return way → accuracy; NaN for `scale` where there is no γ to go by."""
        by_scale = pruned_by(network, example, "scale", share, self.scope)
        layers = None if isinstance(by_scale, str) else list(by_scale.channels)
        found = {"scale": math.nan}
        if not isinstance(by_scale, str):
            found["scale"] = accuracy(by_scale.model, objective, data)
        for way, draws in (("norm", 1), ("random", self.draws)):
            values = []
            for seed in range(draws):
                pruned = pruned_by(network, example, way, share, self.scope, layers, seed)
                if isinstance(pruned, str):
                    raise ProbeError(
                        f"the network cannot be pruned: {pruned}",
                        required="channels that can be removed, for the probe 'pruned-accuracy'",
                    )
                values.append(accuracy(pruned.model, objective, data))
            found[way] = fmean(values)
        return found


def pruned_by(
    network: nn.Module,
    example: Tensor,
    way: str,
    amount: float,
    scope: str,
    layers: Sequence[str] | None = None,
    seed: int = 0,
) -> Pruning | str:
    """Return a pruned copy, or why there is none.

    Args:
        network: stays as it is.
        example: images to follow channels with.
        way: one of `WAYS`.
        amount: share of the channels.
        scope: "layer" or "global".
        layers: whose channels may go; None for all.
        seed: of `random`.
    """
    try:
        return prune(network, example, amount=amount, by=way, scope=scope, layers=layers, seed=seed)
    except RewriteError as error:
        return error.given


@torch.no_grad()
def accuracy(network: nn.Module, objective: Objective, data: Labelled) -> float:
    """Return the share of images that a network classifies rightly; it is in eval mode."""
    hits = sum(
        int((predictions(network, objective, batch) == batch.labels).sum())
        for batch in data.cut(EVALUATION_BATCH)
    )
    return hits / len(data.labels)
