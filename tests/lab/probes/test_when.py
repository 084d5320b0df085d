"""When probes run."""

from __future__ import annotations

from typing import Any

import pytest

from bnkit.errors import ProbeError
from bnkit.lab.probes.when import When
from bnkit.lab.training.observer import StepPlace

PLACES = [
    StepPlace(step, -(-step // 4), step % 4 == 0, step % 3 == 0 or step == 20, step == 20)
    for step in range(21)
]


@pytest.mark.parametrize(
    ("value", "steps"),
    [
        (5, [0, 5, 10, 15, 20]),
        ([0, 3, 99], [0, 3]),
        ("epoch", [0, 4, 8, 12, 16, 20]),
        ("checkpoint", [0, 3, 6, 9, 12, 15, 18, 20]),
        ("end", [20]),
        ("log", [0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20]),
    ],
)
def test_due_at(value: Any, steps: list[int]) -> None:
    when = When.parse(value)
    assert [place.step for place in PLACES if when.is_due(place)] == steps
    assert str(when)


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "daily", [], [1, "2"], None, [-1]])
def test_what_is_no_moment_is_refused(value: Any) -> None:
    with pytest.raises(ProbeError, match="when = "):
        When.parse(value)


def test_a_near_word_is_suggested() -> None:
    with pytest.raises(ProbeError, match="Did you mean 'epoch'"):
        When.parse("epochs")
