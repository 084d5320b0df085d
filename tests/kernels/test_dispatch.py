"""Which kernel is chosen, why, and what happens to a wrong name."""

from __future__ import annotations

import asyncio
import threading

import pytest
import torch

import bnkit
from bnkit.errors import ArgumentError, KernelUnavailableError
from bnkit.kernels import dispatch, kernel_for, kernel_named, kernel_names, use_kernel
from bnkit.kernels.dispatch import exact_statistics
from bnkit.kernels.reference import ReferenceKernel

X = torch.zeros(2, 3)


def test_auto_picks_the_fastest_and_says_why() -> None:
    x = torch.zeros(4096, 256)
    assert str(bnkit.kernel_for(torch.zeros(16, 3))) == (
        "eager: auto, torch's own operators, on any device; "
        "numba does not: torch's operator is as fast on fewer than 1,048,576 values"
    )
    assert str(bnkit.kernel_for(x)) == "numba: auto, compiled for this CPU, on torch's threads"
    assert "so few values per channel" in bnkit.kernel_for(X).reason
    # The more follows, the more there is to gain; in eval mode alone, nothing is.
    half = x[:2048]
    assert bnkit.kernel_for(half).name == "eager"
    assert bnkit.kernel_for(half, is_followed=True).name == "numba"
    assert bnkit.kernel_for(torch.zeros(8192, 32)).name == "numba"
    assert bnkit.kernel_for(torch.zeros(32, 64, 8, 8, dtype=torch.bfloat16)).name == "eager"
    few = x.view(512, 2048)[:256]
    assert "rows of channels" in bnkit.kernel_for(few, is_followed=True).reason
    assert bnkit.kernel_for(torch.zeros(32, 64, 8, 8)).name == "numba"
    assert bnkit.kernel_for(x, training=False, is_followed=True).name == "numba"
    assert "at the speed of memory" in bnkit.kernel_for(x, training=False).reason


def test_a_name_in_the_call_goes_before_use_kernel() -> None:
    with use_kernel("reference"):
        assert kernel_for(X).name == "reference"
        assert "asked for by use_kernel" in kernel_for(X).reason
        named = kernel_for(X, "eager")
    assert named.name == "eager"
    assert "named in the call" in named.reason


def test_blocks_nest_and_auto_undoes() -> None:
    with use_kernel("reference"):
        with use_kernel("auto"):
            assert kernel_for(X).name == "eager"
        assert kernel_for(X).name == "reference"
    assert kernel_for(X).name == "eager"


def test_a_block_ends_when_its_body_raises() -> None:
    with pytest.raises(KeyError), use_kernel("reference"):
        raise KeyError
    assert kernel_for(X).name == "eager"
    assert dispatch._open_blocks == 0


def test_a_block_holds_in_its_own_thread_only() -> None:
    seen: list[str] = []
    with use_kernel("reference"):
        thread = threading.Thread(target=lambda: seen.append(kernel_for(X).name))
        thread.start()
        thread.join()
    assert seen == ["eager"]


def test_a_block_holds_in_its_own_task_only() -> None:
    async def inside(started: asyncio.Event, done: asyncio.Event) -> str:
        with use_kernel("reference"):
            started.set()
            await done.wait()
            return kernel_for(X).name

    async def both() -> tuple[str, str]:
        started, done = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(inside(started, done))
        await started.wait()
        outside = kernel_for(X).name
        done.set()
        return outside, await task

    assert asyncio.run(both()) == ("eager", "reference")


@pytest.mark.parametrize("ask", [use_kernel, kernel_named, lambda name: kernel_for(X, name)])
def test_an_unknown_name_is_an_error_with_the_nearest_known_one(ask: object) -> None:
    with pytest.raises(
        ArgumentError, match=r"there is no kernel 'refrence'.*nearest is 'reference'"
    ):
        ask("refrence")  # type: ignore[operator]


def test_a_name_like_no_other_lists_the_kernels() -> None:
    with pytest.raises(ArgumentError, match=r"the kernels are auto, numba, eager, reference\.$"):
        use_kernel("xyz")


def test_a_kernel_named_that_cannot_run_raises_and_auto_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ReferenceKernel, "refusal", lambda self, x: "it is Sunday")
    with pytest.raises(KernelUnavailableError, match=r"'reference'.*it is Sunday"):
        kernel_for(X, "reference")
    monkeypatch.setattr(dispatch, "_FASTER_THAN_EAGER", ("reference",))
    choice = kernel_for(X)
    assert choice.name == "eager"
    assert "reference does not: it is Sunday" in choice.reason


def test_auto_takes_the_fastest_that_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_FASTER_THAN_EAGER", ("reference",))
    assert kernel_for(X).name == "reference"


def test_the_reference_refuses_where_there_is_no_float64() -> None:
    class OnAppleGpu(torch.Tensor):
        device = torch.device("mps")

    x = torch.zeros(2, 3).as_subclass(OnAppleGpu)
    assert "float64" in str(ReferenceKernel().refusal(x))


def test_every_kernel_loads_under_its_name() -> None:
    for name in kernel_names():
        assert kernel_named(name).name == name


def test_exact_sums_are_for_many_values_that_a_kernel_takes() -> None:
    assert exact_statistics(torch.ones(8, 4)) is None
    assert exact_statistics(torch.ones(2**9, 2**9, device="meta")) is None
    assert exact_statistics(torch.ones(2**9, 2**9, dtype=torch.int32)) is None
    found = exact_statistics(torch.arange(2.0**18).view(-1, 2))
    assert found is not None
    assert (found.mean.dtype, found.mean.tolist(), found.m) == (
        torch.float64,
        [131071, 131072],
        2**17,
    )
    assert found.var.tolist() == pytest.approx([(2**34 - 1) / 3] * 2, rel=1e-12)
