"""The median step: against a clock that is set by hand, and in a loop whose steps sleep."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from bnkit.lab.probes import Session
from bnkit.lab.probes.moment import Moment
from bnkit.lab.probes.objective import ClassifierObjective
from bnkit.lab.probes.probe import Measured
from bnkit.lab.probes.step_time import StepTime
from bnkit.lab.training import Computation
from bnkit.lab.training.observer import StepPlace

OBJECTIVE = ClassifierObjective(nn.functional.cross_entropy, Computation())


def measured(seconds: tuple[float, ...]) -> list[float]:
    moment = Moment(nn.Linear(1, 1), StepPlace(3, 1), OBJECTIVE, step_seconds=seconds)
    return [found.value for found in StepTime().measure(moment)]


@pytest.mark.parametrize(
    ("seconds", "median_ms"),
    [((0.004,), 4.0), ((0.002, 9.0, 0.003), 3.0), ((0.002, 0.004, 9.0, 0.001), 3.0)],
)
def test_it_is_the_median_in_milliseconds(seconds: tuple[float, ...], median_ms: float) -> None:
    assert measured(seconds) == pytest.approx([median_ms])


def test_nothing_is_recorded_before_the_first_step() -> None:
    assert not measured(())


def test_steps_are_timed_and_what_lies_between_them_is_not() -> None:
    session = Session(nn.Linear(2, 2), [StepTime(when=4)], OBJECTIVE)
    session.start()
    for step in range(1, 5):
        session.begin(StepPlace(step, 1))
        time.sleep(0.02)
        session.before_update([torch.zeros(1)], 0.1, is_plain_gradient=False)
        session.after_update()
        time.sleep(0.2)
    (row,) = session.rows
    assert (row.step, row.unit) == (4, "ms")
    assert 20 <= row.value < 200


def test_other_probes_take_no_steps_away() -> None:
    seen = []

    class Counting(StepTime):
        def measure(self, moment: Moment) -> Iterator[Measured]:
            seen.append((self.when.every, len(moment.step_seconds)))
            return iter(())

    session = Session(nn.Linear(2, 2), [Counting(when=1), Counting(when=3)], OBJECTIVE)
    for step in range(1, 7):
        session.begin(StepPlace(step, 1))
        session.after_update()
    assert [count for every, count in seen if every == 3] == [3, 3]
    assert [count for every, count in seen if every == 1] == [1] * 6
