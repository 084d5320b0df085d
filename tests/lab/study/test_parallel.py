from __future__ import annotations

import joblib
import pytest

from bnkit.lab.study.parallel import worker_count


@pytest.mark.parametrize(
    ("cores", "threads", "device", "jobs", "expected"),
    [
        (8, 1, "cpu", 10, 8),
        (8, 1, "cpu", 3, 3),
        (8, 3, "cpu", 10, 2),
        (2, 4, "cpu", 10, 1),
        (8, 1, "cuda:0", 10, 1),
    ],
)
def test_the_cores_are_divided_between_trials(
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    threads: int,
    device: str,
    jobs: int,
    expected: int,
) -> None:
    monkeypatch.setattr(joblib, "cpu_count", lambda: cores)
    assert worker_count(threads, device, jobs) == expected
