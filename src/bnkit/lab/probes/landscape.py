"""What the loss and its gradient are along the gradient of a step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from bnkit.errors import ProbeError
from bnkit.lab.probes.moment import Moment
from bnkit.lab.probes.probe import Cost, Measured, Probe
from bnkit.lab.probes.probed_step import Gradient, ProbedStep
from bnkit.lab.probes.vectors import cosine, difference, norm


class Point(NamedTuple):
    """What was found at w − m·ηg.

    Attributes:
        multiple: m.
        loss: L(w − m·ηg).
        change: ‖∇L(w) − ∇L(w − m·ηg)‖₂.
        relative: change / ‖∇L(w)‖₂.
        cosine: of the two gradients.
        smoothness: change / ‖m·ηg‖₂.
    """

    multiple: float
    loss: float
    change: float
    relative: float
    cosine: float
    smoothness: float


class Landscape(Probe):
    """The loss and its gradient at w − m·ηg, with g = ∇L(w) of a step and η its learning rate.

    All along one gradient at one point, for each multiple m:

    - "loss along gradient": L(w − m·ηg); "loss variation": the largest less the smallest of them;
    - "gradient predictiveness": ‖∇L(w) − ∇L(w − m·ηg)‖₂, so that a smaller number predicts better;
      "relative gradient predictiveness" divides it by ‖g‖₂, and "gradient predictiveness cosine"
      is the cosine of the two gradients;
    - "effective smoothness": the largest of that difference over the distance moved, m·η‖g‖₂; a
      smaller number is smoother;
    - "loss at step": L(w), where the loop tells it, as that of a study does: it costs nothing.

    L is the mean loss of the step's batches in training mode with its random draws, without weight
    decay, so that g is not the optimizer's direction where that has a momentum or a weight decay. A
    loss that overflows far along the gradient is recorded as such, and so is what follows from it.

    Options:
        multiples: of the learning rate; default ½, 1, 1½ … 4.

    Source: Santurkar et al. 2018, section 3.1, figure 4; studies.md, Definitions of the probes.
    """

    kind = "landscape"
    needs = frozenset({"gradient", "learning-rate"})

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.multiples = sorted({float(each) for each in self.options["multiples"]})
        if not all(0 < each < math.inf for each in self.multiples):
            raise ProbeError(
                f"multiples = {self.options['multiples']!r}",
                required="numbers above 0, the steps along the gradient in learning rates",
            )

    def cost(self) -> Cost:
        """One forward and one backward per multiple."""
        count = len(self.multiples)
        note = "one more of each where .grad does not hold the step's gradient"
        return Cost(forwards=count, backwards=count, copies=1, note=note)

    def measure(self, moment: Moment) -> Iterator[Measured]:
        """Yield what one pass over the multiples tells."""
        assert moment.step is not None
        points = points_along(moment.step, self.multiples)
        if moment.step.known_loss is not None:
            yield Measured("loss at step", moment.step.known_loss)
        for point in points:
            key = f"{point.multiple:g}"
            yield Measured("loss along gradient", point.loss, key=key)
            yield Measured("gradient predictiveness", point.change, key=key)
            yield Measured("relative gradient predictiveness", point.relative, key=key)
            yield Measured("gradient predictiveness cosine", point.cosine, key=key)
        losses = [point.loss for point in points]
        yield Measured("loss variation", largest(losses) - smallest(losses))
        yield Measured("effective smoothness", largest([point.smoothness for point in points]))


def points_along(step: ProbedStep, multiples: Sequence[float]) -> list[Point]:
    """Return what lies along the step's gradient. Cost: a forward and a backward per multiple."""
    gradient = step.gradient()
    length, rate = norm(gradient), step.learning_rate
    return [_point(step, gradient, length, rate, multiple) for multiple in multiples]


def largest(values: Sequence[float]) -> float:
    """Return the maximum; NaN if one of the values is."""
    return math.nan if any(map(math.isnan, values)) else max(values)


def smallest(values: Sequence[float]) -> float:
    """Return the minimum; NaN if one of the values is."""
    return math.nan if any(map(math.isnan, values)) else min(values)


def _point(
    step: ProbedStep, gradient: Gradient, length: float, rate: float, multiple: float
) -> Point:
    with step.moved(gradient, multiple * rate):
        loss, there = step.loss_and_gradient()
    change = norm(difference(gradient, there))
    distance = multiple * rate * length
    return Point(
        multiple,
        loss,
        change,
        relative=change / length if length else math.nan,
        cosine=cosine(gradient, there),
        smoothness=change / distance if distance else math.nan,
    )
