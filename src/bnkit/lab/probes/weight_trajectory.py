"""The path of chosen weights and the loss through training, and how smooth it is."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from bnkit.errors import ProbeError, did_you_mean
from bnkit.inspection.families import module_family
from bnkit.lab.probes.moment import Moment
from bnkit.lab.probes.probe import Cost, Measured, Probe
from bnkit.lab.probes.probed_step import refuse_no_scalar

_WRITTEN = re.compile(r"(?P<path>[^\[\]]+)(?:\[(?P<index>\s*\d+(?:\s*,\s*\d+)*)\s*\])?")


@dataclass(frozen=True)
class ChosenWeight:
    """One number of a parameter.

    Attributes:
        path: of the parameter.
        place: its index, one number per axis.
    """

    path: str
    place: tuple[int, ...]

    @property
    def key(self) -> str:
        """The index in words: "3,4,1,0"."""
        return ",".join(map(str, self.place))


class WeightTrajectory(Probe):
    """Chosen weights and the loss, after each epoch.

    "weight" has one series per parameter and index. "trajectory loss" is the loss on training
    examples in eval mode, the same ones each time. Recorded once, at the end, over all measurements
    after a step: "jaggedness", the total variation of the loss over its range, Σ|Lᵢ₊₁ − Lᵢ| /
    (max L − min L), 1 where it only falls; and "path turning", the sum of the angles by which the
    path of (weights, loss) turns, each axis scaled to its range, in radians: 0 for a straight line.
    Measurements at which anything is not finite are left out.

    Options:
        weights: which, such as ["features.0.weight[3,4,1,0]", "head.bias[2]"]; default two of the
            last convolution, or of the last layer with weights if there is none: of its first
            filter, those of the first two inputs, in the middle of the window.
        examples: how many training examples the loss is taken over; default 1,000.

    Source: studies.md, Definitions of the probes; Kashaboina 2024.
    """

    kind = "weight-trajectory"
    needs = frozenset({"training"})

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.weights: tuple[ChosenWeight, ...] = ()
        self._history: list[tuple[float, ...]] = []

    def prepare(self, network: nn.Module) -> None:
        """Find the weights.

        Raises:
            ProbeError: one of them does not exist, or is not one number.
        """
        given = self.options["weights"]
        found = [_chosen(network, text) for text in given] if given else two_of_last(network)
        self.weights = tuple(dict.fromkeys(found))

    def cost(self) -> Cost:
        """One forward over the training examples."""
        return Cost(forwards=1, note=f"over {self.options['examples']} training examples")

    def measure(self, moment: Moment) -> Iterator[Measured]:
        """Yield the weights and the loss."""
        known = dict(moment.network.named_parameters())
        point = []
        for weight in self.weights:
            if weight.path in known:  # an arm may have removed it
                point.append(known[weight.path].detach()[weight.place].item())
                yield Measured("weight", point[-1], weight.path, weight.key)
        loss = self._loss(moment)
        yield Measured("trajectory loss", loss)
        if moment.place.step > 0:
            self._history.append((*point, loss))

    def conclude(self) -> Iterator[Measured]:
        """Yield how smooth the path was."""
        if len(self._history) > 1:
            path = np.array(self._history, dtype=np.float64)
            yield Measured("jaggedness", jaggedness(path[:, -1]))
            yield Measured("path turning", path_turning(path))

    def _loss(self, moment: Moment) -> float:
        assert moment.training is not None
        total, examples = 0.0, 0
        with moment.in_eval() as network:
            for batch in moment.training.batches(self.options["examples"]):
                count = moment.objective.examples(batch)
                loss = moment.objective.loss(network, batch)
                refuse_no_scalar(loss)
                total += loss.item() * count
                examples += count
        return total / examples if examples else math.nan


def jaggedness(losses: NDArray[np.float64]) -> float:
    """Return Σ|Lᵢ₊₁ − Lᵢ| / (max L − min L) of a curve; NaN if it is flat.

    Args:
        losses: shape (T,); those that are not finite are left out.
    """
    losses = losses[np.isfinite(losses)]
    width = float(np.ptp(losses)) if len(losses) else 0.0
    return float(np.abs(np.diff(losses)).sum()) / width if width > 0 else math.nan


def path_turning(points: NDArray[np.float64]) -> float:
    """Return the sum of the angles between one step of a path and the next, in radians.

    Args:
        points: shape (T, D); each column is scaled to its range, one without any to 0. Points that
            are not finite, and steps of no length, are left out.
    """
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) < 2:
        return math.nan
    width = np.ptp(points, axis=0)
    scaled = (points - points.min(axis=0)) / np.where(width > 0, width, 1.0)
    steps = np.diff(scaled, axis=0)
    steps = steps[np.linalg.norm(steps, axis=1) > 0]
    return float(sum(_angle(a, b) for a, b in pairwise(steps)))


def _angle(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    # By half angles: an arc cosine would lose the digits of small angles.
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    return 2 * math.atan2(float(np.linalg.norm(a - b)), float(np.linalg.norm(a + b)))


def two_of_last(network: nn.Module) -> list[ChosenWeight]:
    """Return two weights of the last convolution, or else of the last layer with weights.

    Raises:
        ProbeError: no parameter of the network has two weights in two axes or more.
    """
    found: dict[bool, tuple[str, Tensor]] = {}
    for path, module in network.named_modules():
        is_conv = module_family(module) in ("conv", "conv-transpose")
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.dim() > 1 and parameter.numel() > 1:
                found[is_conv] = (f"{path}.{name}".lstrip("."), parameter)
    if not found:
        raise ProbeError(
            "the network has no weight of two axes or more",
            required='weights = ["PARAMETER[index]", …]',
        )
    path, parameter = found.get(True) or found[False]
    middle = [size // 2 for size in parameter.shape[2:]]
    other = (0, 1) if parameter.shape[1] > 1 else (min(1, len(parameter) - 1), 0)
    chosen = [ChosenWeight(path, (*head, *middle)) for head in ((0, 0), other)]
    return list(dict.fromkeys(chosen))


def _chosen(network: nn.Module, text: Any) -> ChosenWeight:
    parameters = dict(network.named_parameters())
    written = _WRITTEN.fullmatch(text.strip()) if isinstance(text, str) else None
    if written is None:
        raise ProbeError(
            f"weights = {text!r}",
            required='the path of a parameter and an index, such as "0.weight[3,4,1,0]"',
        )
    path = written["path"].strip()
    if path not in parameters:
        raise ProbeError(
            f"the network has no parameter {path!r}",
            required=f"one of {_listed(list(parameters))}",
            remedy=did_you_mean(path, parameters),
        )
    index = tuple(int(number) for number in (written["index"] or "").split(",") if number.strip())
    shape = parameters[path].shape
    if len(index) != len(shape) or any(i >= size for i, size in zip(index, shape, strict=True)):
        raise ProbeError(
            f"{text!r} is no weight of {path}, which is of shape {tuple(shape)}",
            required="one index per axis, counted from 0",
        )
    return ChosenWeight(path, index)


def _listed(names: Sequence[str], limit: int = 20) -> str:
    return ", ".join(names[:limit]) + (" …" if len(names) > limit else "")
