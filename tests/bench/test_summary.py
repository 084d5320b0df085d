"""Geometric means, and what they are taken over."""

from __future__ import annotations

import pytest

from bench.rows import row_of
from bnkit.bench.cases import Case
from bnkit.bench.summary import LARGE_MIB, geometric_mean, summarize

LARGE, SMALL = (32, 64, 56, 56), (8, 16)


def test_the_geometric_mean_by_hand():
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0)
    assert geometric_mean([1.0, 10.0, 100.0]) == pytest.approx(10.0)
    assert geometric_mean([3.0]) == pytest.approx(3.0)


def test_what_is_absent_does_not_count():
    assert geometric_mean([2.0, None, 8.0]) == pytest.approx(4.0)
    assert geometric_mean([None]) is None
    assert geometric_mean([]) is None


def test_many_large_values_do_not_overflow():
    assert geometric_mean([1e300] * 100) == pytest.approx(1e300)


def test_a_ratio_of_zero_has_no_geometric_mean():
    with pytest.raises(ValueError, match=r"math domain error|positive"):
        geometric_mean([1.0, 0.0])


def test_the_limit_counts_over_large_tensors_alone():
    assert Case(SMALL).tensor_mib < LARGE_MIB < Case(LARGE).tensor_mib
    rows = [
        row_of(case=Case(LARGE), bnkit=[1.0], torch=[2.0], limit=[0.5], limit_reused=[0.25]),
        row_of(case=Case(SMALL), bnkit=[1.0], torch=[8.0], limit=[0.01], limit_reused=[0.01]),
    ]
    (summary,) = summarize(rows)
    assert (summary.shapes, summary.large_shapes) == (2, 1)
    assert summary.vs_torch == pytest.approx(4.0)
    assert summary.vs_limit == pytest.approx(2.0)
    assert summary.vs_limit_reused == pytest.approx(4.0)
    assert summary.vs_compile is None
    assert (summary.slowest_shape, summary.slowest_vs_torch) == (LARGE, 2.0)
    assert summary.slower_shapes == ()


def test_each_operation_layout_dtype_mode_and_pass_has_its_own():
    cases = [
        Case(LARGE),
        Case(LARGE, dtype="bfloat16"),
        Case(LARGE, layout="channels-last"),
        Case(LARGE, operation="bn"),
        Case(LARGE, mode="eval"),
        Case(LARGE, passes="forward"),
    ]
    summaries = summarize(row_of(case=case, bnkit=[1.0], torch=[1.5]) for case in cases)
    assert [
        (each.dtype, each.layout, each.operation, each.mode, each.passes) for each in summaries
    ] == [(case.dtype, case.layout, case.operation, case.mode, case.passes) for case in cases]
    assert summaries[-1].to_dict()["pass"] == "forward"


def test_slower_and_refused_shapes_are_named():
    rows = [
        row_of(case=Case(LARGE), bnkit=[2.0], torch=[1.0]),
        row_of(case=Case(SMALL), torch=[1.0], absent={"bnkit": "wrong"}),
    ]
    (summary,) = summarize(rows)
    assert summary.slower_shapes == (LARGE,)
    assert summary.refused_shapes == (SMALL,)
    assert summary.shapes == 1
    assert summary.slowest_difference_us == pytest.approx(1000)


def test_where_nothing_was_timed_there_is_no_mean():
    (summary,) = summarize([row_of(torch=[1.0], absent={"bnkit": "wrong"})])
    assert summary.vs_torch is summary.slowest_shape is summary.vs_limit is None
