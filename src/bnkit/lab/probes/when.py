"""When a probe runs; imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bnkit.errors import ProbeError, did_you_mean
from bnkit.lab.training.observer import StepPlace

MOMENTS = ("epoch", "checkpoint", "end", "log")
_PER_DECADE = 10


@dataclass(frozen=True)
class When:
    """The steps at which a probe runs.

    Attributes:
        every: every so many steps, or 0.
        at: these steps.
        moment: at the end of every `epoch`, at every `checkpoint`, at the `end` of training, or
            `log`: at ten steps a decade, 1, 2, 3, 4, 5, 6, 8, 10, 13, 16 …
    """

    every: int = 0
    at: tuple[int, ...] = ()
    moment: str = ""

    @classmethod
    def parse(cls, value: Any) -> When:
        """Return what a study file or a user's code states.

        Args:
            value: a number k (every k steps), a list of steps, or a word of `MOMENTS`.

        Raises:
            ProbeError: it is none of these.
        """
        if _is_step(value) and value > 0:
            return cls(every=value)
        if isinstance(value, str) and value in MOMENTS:
            return cls(moment=value)
        is_list = isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 0
        if is_list and all(_is_step(step) for step in value):
            return cls(at=tuple(value))
        raise ProbeError(
            f"when = {value!r}",
            required="a number of steps above 0 (every so many), a list of steps, or one of "
            + ", ".join(MOMENTS),
            remedy=did_you_mean(value, MOMENTS) if isinstance(value, str) else "",
        )

    def is_due(self, place: StepPlace) -> bool:
        """Return whether the probe runs at a step; at step 0 what needs no step runs too."""
        if self.at:
            return place.step in self.at
        if self.moment == "end":
            return place.is_last
        if place.step == 0:
            return True
        if self.every:
            return place.step % self.every == 0
        if self.moment == "log":
            return is_log_spaced(place.step)
        return place.ends_epoch if self.moment == "epoch" else place.is_checkpoint

    def __str__(self) -> str:
        if self.at:
            return f"at step {', '.join(map(str, self.at))}"
        if self.every:
            return f"every {self.every} steps"
        return {
            "epoch": "at the end of every epoch",
            "checkpoint": "at every checkpoint",
            "end": "at the end of training",
            "log": "at log-spaced steps",
        }[self.moment]


def is_log_spaced(step: int) -> bool:
    """Return whether a step is 10^(i/10), rounded, for some i ≥ 0."""
    exponent = 0
    while (spaced := round(10 ** (exponent / _PER_DECADE))) < step:
        exponent += 1
    return spaced == step


def _is_step(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
