"""How the size of a core's cache is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bnkit.kernels.numba_cpu import cache_size
from bnkit.kernels.numba_cpu.cache_size import bytes_of, second_cache_bytes


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    second_cache_bytes.cache_clear()
    yield
    second_cache_bytes.cache_clear()


@pytest.mark.parametrize(("text", "size"), [("1024K\n", 2**20), ("2M", 2**21), ("512", 512)])
def test_sizes(text: str, size: int) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", [None, "", "much", "12G"])
def test_what_linux_does_not_tell_is_taken_for_small(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "size"
    if text is not None:
        path.write_text(text)
    monkeypatch.setattr(cache_size, "_SIZE", path)
    assert second_cache_bytes() == 2**18


def test_what_linux_tells_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "size"
    path.write_text("2048K\n")
    monkeypatch.setattr(cache_size, "_SIZE", path)
    assert second_cache_bytes() == 2**21
