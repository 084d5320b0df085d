"""How long a training step takes."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from bnkit.lab.probes.moment import Moment
from bnkit.lab.probes.probe import Cost, Measured, Probe

_MS_PER_SECOND = 1000.0


class StepTime(Probe):
    """The median wall-clock time of a training step since the last measurement, in milliseconds.

    A step is forward, backward and update; validation and probes are not part of it. In a user's
    loop it goes from one call of `recorder.step` to the next, with all that the loop does between.
    The median, because a few steps are much longer: the first, where kernels are compiled, and
    those in which the machine did something else. On a GPU a step ends when its work is handed
    over, unless the loop waits for it. With `when = "end"` it is the median over the whole
    training. Trials that run side by side share the machine.
    """

    kind = "step-time"

    def cost(self) -> Cost:
        """Nothing but a reading of the clock, which is taken anyway."""
        return Cost(note="the clock is read at every step, with or without it")

    def measure(self, moment: Moment) -> Iterator[Measured]:
        """Yield the median, if a step was taken."""
        if moment.step_seconds:
            yield Measured("step time", _MS_PER_SECOND * median(moment.step_seconds))
