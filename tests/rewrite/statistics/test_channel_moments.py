"""Moments of values in parts: equal to those of the whole, in any dtype, mean ≫ std included."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bnkit.kernels.dispatch import exact_statistics
from bnkit.rewrite.statistics import channel_moments
from bnkit.rewrite.statistics.channel_moments import Moments, merge, moments_of


def exact(x: Tensor) -> tuple[Tensor, Tensor]:
    values = x.double().transpose(0, 1).flatten(1)
    return values.mean(1), values.var(1)


def assert_exact(found: Moments, x: Tensor, rtol: float) -> None:
    mean, var = exact(x)
    assert found.count == x.numel() // x.shape[1]
    torch.testing.assert_close(found.mean, mean, rtol=rtol, atol=0)
    torch.testing.assert_close(found.var, var, rtol=rtol, atol=0)


def tolerance(offset: float) -> float:
    """In float64 a mean is known to eps·mean/std of the deviation: that much δ is off."""
    return 1e-12 + 8 * torch.finfo(torch.float64).eps * abs(offset)


@settings(max_examples=40, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=6, unique=True),
    offset=st.sampled_from([0.0, 1.0, -1e4, 1e7]),
    seed=st.integers(0, 1000),
)
def test_any_cut_gives_the_moments_of_the_whole(cuts: list[int], offset: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(41, 3, 2, generator=generator, dtype=torch.float64) + offset
    parts = [part for part in x.tensor_split(sorted(cuts)) if len(part)]
    found = merge([moments_of(part) for part in parts])
    assert_exact(found, x, tolerance(offset))
    assert found.calls == len(parts)


@pytest.mark.parametrize("offset", [0.5, 200.0, 1e4, -1e5])
@pytest.mark.parametrize("shape", [(33, 64, 13, 11), (8192, 5), (7, 16, 501)])
@pytest.mark.parametrize("last", [False, True])
def test_float32_of_many_values(offset: float, shape: tuple[int, ...], last: bool) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) + offset
    if last and len(shape) == 4:
        x = x.to(memory_format=torch.channels_last)
    assert_exact(moments_of(x), x, tolerance(offset))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_dtypes_are_summed_in_wider_ones(dtype: torch.dtype) -> None:
    x = (torch.randn(64, 8, 7, 7) + 3).to(dtype)
    assert_exact(moments_of(x), x, 1e-11)


@pytest.mark.parametrize(
    ("dtype", "last"),
    [
        (torch.bfloat16, False),
        # A program is compiled for each.
        pytest.param(torch.bfloat16, True, marks=pytest.mark.slow),
        pytest.param(torch.float16, False, marks=pytest.mark.slow),
        pytest.param(torch.float64, True, marks=pytest.mark.slow),
    ],
)
def test_many_values_of_other_dtypes(dtype: torch.dtype, last: bool) -> None:
    x = torch.randn(64, 8, 25, 25, generator=torch.Generator().manual_seed(0)) + 3
    x = x.to(dtype, memory_format=torch.channels_last if last else torch.contiguous_format)
    assert exact_statistics(x) is not None
    assert_exact(moments_of(x), x, 1e-11)


def test_without_a_kernel_that_sums_exactly_torch_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(33, 64, 13, 11, generator=torch.Generator().manual_seed(0)) + 1e4
    assert_exact(moments_of(x), x, tolerance(1e4))
    monkeypatch.setattr(channel_moments, "exact_statistics", lambda _: None)
    assert_exact(moments_of(x), x, tolerance(1e4))


def test_a_merge_that_forgets_the_spread_of_means_would_be_seen() -> None:
    x = torch.cat([torch.randn(10, 2, dtype=torch.float64), torch.randn(10, 2).double() + 20])
    wrong = Moments(20, *[torch.stack([x[:10].mean(0), x[10:].mean(0)]).mean(0), x[:10].var(0)])
    with pytest.raises(AssertionError):
        assert_exact(wrong, x, 1e-6)
    assert_exact(moments_of(x[:10]).merged(moments_of(x[10:])), x, 1e-12)


def test_what_is_not_finite_is_told() -> None:
    x = torch.ones(4, 2)
    assert moments_of(x).are_finite
    x[1, 1] = float("inf")
    assert not moments_of(x).are_finite
    assert not moments_of(torch.ones(1, 2)).merged(moments_of(x)).are_finite
    for value in (float("inf"), float("nan")):
        many = torch.zeros(2**17, 2)
        many[7, 1] = value
        assert moments_of(many).mean[0] == 0
        assert not moments_of(many).are_finite
