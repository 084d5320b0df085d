"""What other images cost a network, and what statistics of these images bring back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnkit.lab.probes.classified import Labelled, all_labelled, examples_option, predictions
from bnkit.lab.probes.moment import Moment, copied
from bnkit.lab.probes.objective import EVALUATION_BATCH, Objective
from bnkit.lab.probes.probe import Cost, Measured, Probe
from bnkit.rewrite import adapt


class ShiftedAccuracy(Probe):
    """Accuracy on held-out images whose contrast and brightness were changed.

    x′ = mean + contrast·(x − mean) + brightness·std, with the mean and the standard deviation of
    all values of the held-out images as the network gets them. "shifted accuracy" has the keys
    `unshifted` and `stored` (the network as trained, in eval mode, on x and on x′), and
    `re-estimated`: on x′ with the running statistics of x′ itself, whose labels are not used.
    "accuracy lost to the shift" is unshifted − stored, "accuracy recovered" re-estimated − stored.
    A network without running statistics has nothing to re-estimate.

    Options:
        contrast: default 0.5. brightness: default 0.5, in standard deviations.
        examples: how many held-out examples; default all.

    Source: Nado et al. 2020 and Schneider et al. 2020, on statistics of the shifted data.
    """

    kind = "shifted-accuracy"
    needs = frozenset({"held-out"})

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.examples = examples_option(self.kind, self.options["examples"])

    def cost(self) -> Cost:
        """Four forwards over the held-out examples, and a copy of the network."""
        return Cost(forwards=4, copies=1, note="over the held-out examples")

    def measure(self, moment: Moment) -> Iterator[Measured]:
        """Yield the three accuracies and their differences."""
        assert moment.held_out is not None
        data = all_labelled(moment.held_out, self.examples)
        contrast, brightness = (float(self.options[key]) for key in ("contrast", "brightness"))
        with moment.in_eval() as network:
            found = accuracies(
                network, moment.objective, data, shifted(data.images, contrast, brightness)
            )
        for key, value in zip(("unshifted", "stored", "re-estimated"), found, strict=True):
            yield Measured("shifted accuracy", value, key=key)
        yield Measured("accuracy lost to the shift", found.unshifted - found.stored)
        yield Measured("accuracy recovered", found.re_estimated - found.stored)


class Accuracies(NamedTuple):
    """Accuracies on images, on the shifted images, and on these with statistics of their own."""

    unshifted: float
    stored: float
    re_estimated: float


def shifted(images: Tensor, contrast: float, brightness: float) -> Tensor:
    """Return mean + contrast·(x − mean) + brightness·std, over all values of the images.

    Args:
        images: shape (N, …).
        contrast: 1 leaves the differences between values as they are.
        brightness: in standard deviations (dividing by the number of values); 0 leaves the mean.
    """
    std, mean = torch.std_mean(images.double(), correction=0)
    moved = mean + contrast * (images.double() - mean) + brightness * std
    return moved.to(images.dtype)


def accuracies(
    network: nn.Module, objective: Objective, data: Labelled, moved: Tensor
) -> Accuracies:
    """Return the three accuracies; the network is in eval mode and stays as it is.

    Args:
        network: in eval mode.
        objective: how it is run.
        data: images and labels.
        moved: the images, shifted.
    """
    shifted_data = Labelled(moved, data.labels)
    re_estimated = _re_estimated(network, objective, shifted_data)
    return Accuracies(
        _accuracy(network, objective, data),
        _accuracy(network, objective, shifted_data),
        _accuracy(re_estimated, objective, shifted_data),
    )


def _re_estimated(network: nn.Module, objective: Objective, data: Labelled) -> nn.Module:
    has_statistics = any(
        isinstance(module, _BatchNorm) and module.running_mean is not None
        for module in network.modules()
    )
    if not has_statistics:
        return network

    def forward(model: nn.Module, images: Tensor) -> Any:
        # No label of the shifted data is used; an objective takes a pair.
        return objective.output(model, (images, images.new_zeros(len(images), dtype=torch.int64)))

    return adapt(
        copied(network),
        data.images,
        weight=1.0,
        forward_fn=forward,
        batch_size=EVALUATION_BATCH,
        inplace=True,
        progress=False,
    ).model


def _accuracy(network: nn.Module, objective: Objective, data: Labelled) -> float:
    hits = sum(
        int((predictions(network, objective, batch) == batch.labels).sum())
        for batch in data.cut(EVALUATION_BATCH)
    )
    return hits / len(data.labels)
