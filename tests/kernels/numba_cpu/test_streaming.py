"""Outputs too large for the caches: written past them, whole, and nothing beside them.

What is too large is set to nothing here, so that small odd shapes are streamed.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from bnkit.kernels import kernel_named
from bnkit.kernels.contract import FusingKernel
from bnkit.kernels.numba_cpu import kernel as kernel_module
from bnkit.kernels.numba_cpu import passes
from bnkit.kernels.numba_cpu.partition import Sizes
from bnkit.kernels.numba_cpu.problem import (
    CACHE_LINE,
    CACHED,
    CHANNELS_LAST,
    CONTIGUOUS,
    GATHERED,
    SHORT_ROWS,
    STREAMED,
    Configuration,
)
from helpers.accuracy import ULPS, unit_in_last_place
from helpers.problems import drawn

# Name → shape, whether channels are last, dtype, how it is written.
CASES = {
    "rows of whole lines": ((6, 5, 8, 8), False, torch.float32, STREAMED),
    "long rows that end within a line": ((3, 3, 33, 33), False, torch.float32, STREAMED),
    "rows of three lines and a value": ((5, 20, 7, 7), False, torch.float32, GATHERED),
    "rows shorter than a line": ((9, 7, 3, 3), False, torch.float32, GATHERED),
    "few channels, cut within a line": ((40, 3, 29, 29), False, torch.float32, GATHERED),
    "rows of two bytes a value": ((5, 20, 7, 7), False, torch.bfloat16, GATHERED),
    "short rows of channels side by side": ((9, 64, 10, 10), False, torch.float32, STREAMED),
    "short rows of two bytes a value": ((9, 64, 10, 10), False, torch.bfloat16, STREAMED),
    "channels last": ((6, 32, 7, 5), True, torch.float32, STREAMED),
    "channels last, part of a vector": ((6, 20, 7, 5), True, torch.float32, CACHED),
}
every_case = pytest.mark.parametrize("case", CASES)
MARGIN = 64


@pytest.fixture(autouse=True)
def _everything_is_large(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(passes, "TOO_LARGE_TO_STAY", 0)
    # How short rows are shared out depends on it.
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def numba() -> FusingKernel:
    kernel = kernel_named("numba")
    assert isinstance(kernel, FusingKernel)
    return kernel


def sizes_of(x: Tensor) -> Sizes:
    return passes._divided(tuple(x.shape), x.element_size(), x.is_contiguous(), 2)[0]


def x_of(case: str) -> Tensor:
    shape, is_last, dtype, _ = CASES[case]
    memory_format = torch.channels_last if is_last else torch.contiguous_format
    return drawn(shape, dtype, mean=0.3).contiguous(memory_format=memory_format)


@every_case
def test_the_way_it_is_written(case: str) -> None:
    sizes = sizes_of(x_of(case))
    assert passes._stores(sizes) == CASES[case][3]
    assert (sizes.layout == SHORT_ROWS) == case.startswith("short rows")


def test_what_is_not_aligned_or_stays_in_the_caches_is_not_streamed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert passes._goes_past_caches(torch.empty(64))
    assert not passes._goes_past_caches(torch.empty(65)[1:])
    assert not passes._goes_past_caches(None)
    monkeypatch.setattr(passes, "TOO_LARGE_TO_STAY", 257)
    assert not passes._goes_past_caches(torch.empty(64))


@pytest.mark.parametrize(
    ("dtype", "activation", "layout", "stores", "expected"),
    [
        ("float32", "relu", CHANNELS_LAST, STREAMED, True),
        ("bfloat16", "relu6", CHANNELS_LAST, STREAMED, True),
        ("float32", "leaky_relu", CHANNELS_LAST, STREAMED, True),
        # The product would be read rounded to two bytes.
        ("bfloat16", "leaky_relu", CHANNELS_LAST, STREAMED, False),
        ("float32", "relu", CHANNELS_LAST, CACHED, False),
        ("float32", "relu", CONTIGUOUS, STREAMED, False),
    ],
)
def test_when_the_residuals_gradient_is_written_by_the_sums(
    dtype: str, activation: str, layout: str, stores: str, expected: bool
) -> None:
    backward = Configuration(dtype, "float32", layout, activation, True, True, stores)
    assert backward.may_sum_masked == expected
    # Sums and map are compiled for less than all of it, and must agree.
    assert backward.of_sums.may_sum_masked == backward.of_map.may_sum_masked == expected
    assert not backward._replace(is_backward=False).may_sum_masked
    assert not backward._replace(has_residual=False).may_sum_masked


@every_case
def test_both_gradients_and_nothing_beside_them(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before and behind each output lies a line that must stay as it was."""
    outputs: list[tuple[Tensor, Tensor]] = []

    def between_margins(x: Tensor) -> Tensor:
        values = MARGIN // x.element_size()
        memory = torch.full((x.numel() + 3 * values,), 7.0, dtype=x.dtype)
        start = -memory.data_ptr() % CACHE_LINE // x.element_size() + values
        y = memory.as_strided(x.shape, x.stride(), start)
        outputs.append((memory, y))
        return y

    monkeypatch.setattr(kernel_module, "empty_like", between_margins)
    x = x_of(case)
    residual, grad_output = (drawn(tuple(x.shape), x.dtype).flip(axis) for axis in (0, 1))
    weight, bias = (drawn((x.shape[1],), torch.float32, mean=mean) for mean in (1.0, 0.0))
    y, statistics = numba().fused_forward(
        x, weight, bias, None, None, residual, uses_batch_statistics=True, eps=1e-5,
        activation="relu",
    )  # fmt: skip
    assert_statistics(statistics, x)
    expected = by_torch(x, weight, bias, residual, grad_output)
    for mask in ((True, True, True, True), (False, True, True, True), (True, True, True, False)):
        grads = numba().fused_backward(
            grad_output, x, weight, bias, y, statistics, uses_batch_statistics=True,
            activation="relu", output_mask=mask,
        )  # fmt: skip
        assert (grads.x is not None, grads.residual is not None) == (mask[0], mask[3])
        for actual, wanted in zip((y, grads.x, grads.residual), expected, strict=True):
            assert_near(actual, wanted)
    assert len(outputs) == 5
    for memory, output in outputs:
        output.fill_(7.0)
        assert bool((memory == 7.0).all())


def assert_near(actual: Tensor | None, wanted: Tensor) -> None:
    if actual is not None:
        allowed = ULPS * unit_in_last_place(float(wanted.abs().max()), wanted.dtype)
        torch.testing.assert_close(actual, wanted, rtol=0.0, atol=allowed)


def assert_statistics(statistics: Tensor, x: Tensor) -> None:
    axes = [0, *range(2, x.dim())]
    mean, var = x.double().mean(axes), x.double().var(axes, correction=0)
    unit = torch.finfo(torch.float32).eps
    torch.testing.assert_close(statistics[0], mean, rtol=0.0, atol=unit)
    torch.testing.assert_close(statistics[1], var, rtol=2 * unit, atol=0.0)


def by_torch(x: Tensor, weight: Tensor, bias: Tensor, *rest: Tensor) -> list[Tensor]:
    residual, grad_output = rest
    wide = [v.double().requires_grad_() for v in (x, residual)]
    y = torch.nn.functional.batch_norm(
        wide[0], None, None, weight.double(), bias.double(), training=True
    )
    y = torch.relu(y + wide[1])
    # Where the sum is stored as zero, its gradient is that of zero.
    stored = y.to(x.dtype)
    grads = torch.autograd.grad(y, wide, torch.where(stored > 0, grad_output.double(), 0.0))
    return [stored.detach(), *(grad.to(x.dtype) for grad in grads)]


def test_the_margins_are_looked_at() -> None:
    """A value written beside an output is seen: the test above can fail."""
    memory = torch.full((96,), 7.0)
    memory[90] = 0.0
    memory[16:80] = 7.0
    assert not bool((memory == 7.0).all())
