"""Every test starts and ends without compiled graphs and reports."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

import bnkit


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch._dynamo.reset()
    bnkit.compile_reports(clear=True)
    yield
    torch._dynamo.reset()
    bnkit.compile_reports(clear=True)
