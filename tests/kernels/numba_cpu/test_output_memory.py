"""Memory that outputs left is written again, and only if nobody holds it any more."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import bnkit
from bnkit.kernels.numba_cpu import output_memory
from bnkit.kernels.numba_cpu.output_memory import OFTEN_NEW, empty_like, kept_bytes

MIB = 2**20
LARGE = torch.empty(OFTEN_NEW // 4)


@pytest.fixture(autouse=True)
def _empty() -> Iterator[None]:
    gc.collect()
    bnkit.empty_cache()
    yield
    gc.collect()
    bnkit.empty_cache()


def test_what_is_freed_is_written_again() -> None:
    y = empty_like(LARGE)
    address = y.data_ptr()
    del y
    assert kept_bytes() == OFTEN_NEW
    assert empty_like(LARGE).data_ptr() == address


def test_small_outputs_are_torchs_own() -> None:
    empty_like(LARGE[:-1])
    assert kept_bytes() == 0


HOLDERS = {
    "the tensor": lambda y: y,
    "a view": lambda y: y[:1],
    "a detached alias": lambda y: y.detach(),
    "the storage": lambda y: y.untyped_storage(),
    "an array": lambda y: y.numpy(),
    "a capsule": lambda y: torch.utils.dlpack.to_dlpack(y),
    "a graph": lambda y: y.requires_grad_() * y,
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_what_somebody_holds_is_not(holder: str) -> None:
    y = empty_like(LARGE).fill_(1.0)
    held = HOLDERS[holder](y)
    address = y.data_ptr()
    del y
    assert kept_bytes() == 0
    other = empty_like(LARGE).fill_(2.0)
    assert other.data_ptr() != address
    del held
    gc.collect()
    assert empty_like(LARGE).data_ptr() == address


def test_shape_strides_and_dtype() -> None:
    x = torch.empty(8, 64, 64, 64, dtype=torch.bfloat16)
    x = x.contiguous(memory_format=torch.channels_last)
    y = empty_like(x)
    assert (y.shape, y.stride(), y.dtype) == (x.shape, x.stride(), x.dtype)
    assert y.untyped_storage().nbytes() == x.numel() * 2


def test_never_more_than_was_in_use_at_a_time() -> None:
    """Sizes that are not asked for again make room for those that are."""
    for size in range(1, 9):
        first, second = (empty_like(torch.empty(size * MIB)) for _ in range(2))
        del first, second
        assert kept_bytes() <= 8 * size * MIB
    one = empty_like(torch.empty(3 * MIB))
    assert kept_bytes() + 12 * MIB <= 64 * MIB
    del one


def test_empty_cache_gives_back_what_is_free() -> None:
    held, free = empty_like(LARGE), empty_like(LARGE)
    del free
    assert bnkit.empty_cache() == OFTEN_NEW
    assert bnkit.empty_cache() == 0
    held.fill_(1.0)


def test_what_was_not_used_for_long_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1e6]
    monkeypatch.setattr(output_memory.time, "monotonic", lambda: now[0])
    y = empty_like(LARGE)
    del y
    now[0] += output_memory._IDLE_SECONDS + 1
    other = empty_like(torch.empty(2 * MIB))
    assert kept_bytes() == 0
    del other


@pytest.mark.parametrize("change", ["resized", "shared"])
def test_memory_that_became_something_else_is_forgotten(change: str) -> None:
    y = empty_like(LARGE)
    if change == "resized":
        y.untyped_storage().resize_(2 * OFTEN_NEW)
    else:
        y.share_memory_()
    del y
    other = empty_like(LARGE)
    assert other.untyped_storage().nbytes() == OFTEN_NEW
    assert not other.is_shared()


def test_threads_never_get_the_same_memory() -> None:
    seen: list[bool] = []

    def work(number: int) -> None:
        for _ in range(50):
            y = empty_like(LARGE).fill_(float(number))
            seen.append(bool((y == number).all()))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 200
    assert all(seen)


def test_a_signal_handler_may_come_in_between() -> None:
    """It gets memory of its own, and gives nothing back, while a call is under way."""
    y = empty_like(LARGE)
    del y
    with output_memory._cache.entered() as is_first:
        assert is_first
        assert bnkit.empty_cache() == 0
        within = empty_like(LARGE)
        assert within.shape == LARGE.shape
    assert kept_bytes() == OFTEN_NEW


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_can_allocate() -> None:
    child = os.fork()
    if child == 0:
        empty_like(LARGE)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    empty_like(LARGE)


def test_a_layers_outputs_stay_what_they_are() -> None:
    """Results that a user keeps over steps are not written into."""
    layer = bnkit.BatchNormAct2d(64)
    kept: list[tuple[Tensor, Tensor]] = []
    for step in range(3):
        x = torch.randn(8, 64, 48, 48, generator=torch.Generator().manual_seed(step))
        x.requires_grad_()
        y = layer(x)
        y.sum().backward()
        assert x.grad is not None
        kept += [(y.detach(), y.detach().clone()), (x.grad, x.grad.clone())]
        torch.relu_(layer(x.detach()).detach())
    assert all(torch.equal(value, copy) for value, copy in kept)
