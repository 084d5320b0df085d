from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from bnkit.lab.training.settings import ConstantSchedule
from helpers.training_cases import settings


def test_what_is_left_out_changes_nothing() -> None:
    given = settings()
    assert isinstance(given.schedule, ConstantSchedule)
    assert (given.weight_decay, given.accumulate, given.precision) == (0.0, 1, "float32")
    assert given.clip_norm is given.early_stopping is None
    assert settings(schedule="cosine") == settings(schedule={"name": "cosine"})


@pytest.mark.parametrize(
    ("accumulate", "drop_last", "expected"),
    [(1, False, 4), (1, True, 3), (2, False, 2), (3, False, 2), (2, True, 2), (9, False, 1)],
)
def test_steps_of_an_epoch_of_50_in_batches_of_16(
    accumulate: int, drop_last: bool, expected: int
) -> None:
    given = settings(accumulate=accumulate)
    assert given.steps_per_epoch(50, 16, drop_last) == expected
    assert given.total_steps(50, 16, drop_last) == 3 * expected


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"decay_norm": True}, "decay_norm = true needs training.weight_decay > 0"),
        ({"schedule": {"name": "cosine", "warmup": 3}}, "warmup = 3 epochs of 3"),
        ({"schedule": {"name": "step"}}, "every"),
        ({"schedule": "stepp"}, "schedule"),
        ({"schedule": {"name": "step", "every": 1, "factor": 0}}, "greater than 0"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"weight_decay": True}, "weight_decay"),
        ({"accumulate": 0}, "accumulate"),
        ({"clip_norm": 0.0}, "clip_norm"),
        ({"precision": "half"}, "precision"),
        ({"early_stopping": {"metric": "loss", "patience": 1}}, "metric"),
        ({"optimizer": {"name": "adamw", "momentum": 0.9}}, "momentum"),
        ({"optimizer": {"name": "sgd", "lr": 1.0, "nesterov": True}}, "needs momentum"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        settings(**changes)


@pytest.mark.parametrize(
    ("reference", "batch_size", "accumulate", "expected"),
    [(None, 8, 1, 0.1), (32, 32, 1, 0.1), (32, 8, 1, 0.025), (32, 64, 2, 0.4)],
)
def test_the_rate_is_proportional_to_the_examples_of_a_step(
    reference: int | None, batch_size: int, accumulate: int, expected: float
) -> None:
    given = settings(reference_batch=reference, accumulate=accumulate)
    assert given.for_batch_size(batch_size).optimizer.lr == pytest.approx(expected, rel=1e-12)
