"""The contract's own formulas: merging statistics, 1/√(var + eps), the number of values."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bnkit.kernels import Statistics, kernel_named, merge_statistics
from bnkit.kernels.contract import (
    accumulation_dtype,
    along_channels,
    inverse_std,
    reduction_axes,
    values_per_channel,
)

few = settings(max_examples=25, deadline=None, derandomize=True)
values = st.lists(st.floats(-1e3, 1e3), max_size=12)


def statistics_of(numbers: list[float]) -> Statistics:
    x = torch.tensor(numbers, dtype=torch.float64).view(-1, 1)
    return kernel_named("reference").statistics(x)


@few
@given(values, values)
def test_two_parts_merge_into_the_whole(first: list[float], second: list[float]) -> None:
    merged = merge_statistics(statistics_of(first), statistics_of(second))
    whole = statistics_of(first + second)
    assert merged.m == whole.m
    torch.testing.assert_close(merged.mean, whole.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(merged.var, whole.var, rtol=1e-12, atol=1e-9)


def test_merging_by_hand() -> None:
    # 1, 3 and 5, 5, 8: means 2 and 6, variances 1 and 2; together mean 4.4, var 5.44.
    merged = merge_statistics(statistics_of([1, 3]), statistics_of([5, 5, 8]))
    torch.testing.assert_close(merged.mean, torch.tensor([4.4], dtype=torch.float64))
    torch.testing.assert_close(merged.var, torch.tensor([5.44], dtype=torch.float64))


def test_invstd_is_one_over_the_root_of_variance_plus_eps() -> None:
    var = torch.tensor([5.0, 12.0], dtype=torch.float64)
    assert inverse_std(var, 4.0).tolist() == [1 / 3, 0.25]


def test_the_axes_and_the_number_of_values() -> None:
    x = torch.zeros(2, 3, 5, 7)
    assert reduction_axes(x) == (0, 2, 3)
    assert values_per_channel(x) == 2 * 5 * 7
    assert values_per_channel(x[:, :, 0, 0]) == 2
    assert along_channels(torch.zeros(3), 4).shape == (1, 3, 1, 1)


def test_sums_are_never_narrower_than_float32() -> None:
    kept = {
        torch.float16: torch.float32,
        torch.bfloat16: torch.float32,
        torch.float32: torch.float32,
        torch.float64: torch.float64,
    }
    for dtype, expected in kept.items():
        assert accumulation_dtype(torch.zeros(1, dtype=dtype)) == expected
