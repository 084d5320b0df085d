from __future__ import annotations

import joblib
import pytest

from bnkit.lab.study.parallel import worker_count
from bnkit.lab.training import TrainingSettings


def training(threads: int = 1, device: str = "cpu") -> TrainingSettings:
    optimizer = {"name": "sgd", "lr": 0.1}
    return TrainingSettings.model_validate(
        {"epochs": 1, "optimizer": optimizer, "threads": threads, "device": device}
    )


@pytest.mark.parametrize(
    ("cores", "trainings", "expected"),
    [
        (8, [training()] * 10, 8),
        (8, [training()] * 3, 3),
        (8, [training(), training(threads=3)] * 5, 2),
        (2, [training(threads=4)] * 3, 1),
        (8, [training(), training(device="cuda:0")], 1),
    ],
)
def test_the_cores_are_divided_between_trials(
    monkeypatch: pytest.MonkeyPatch, cores: int, trainings: list[TrainingSettings], expected: int
) -> None:
    monkeypatch.setattr(joblib, "cpu_count", lambda: cores)
    assert worker_count(trainings) == expected
