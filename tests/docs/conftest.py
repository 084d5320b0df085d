"""Documents and examples train in one process."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting others takes longer than the training; tests/lab and tests/cli train in several."""
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
