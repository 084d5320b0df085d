"""Ratios are medians over rounds, and a row is data."""

from __future__ import annotations

import json

import pytest

from bench.rows import CASE, row_of
from bnkit.bench.cases import Case
from bnkit.bench.row import Spread


def test_ratios_are_medians_of_what_each_round_says():
    row = row_of(
        bnkit=[1.0, 2.0, 10.0], torch=[3.0, 8.0, 20.0], limit=[0.5, 2.0, 4.0], limit_reused=[1] * 3
    )
    assert row.vs_torch == 3.0  # of 3, 4, 2; the ratio of the medians were 4
    assert row.vs_limit == 2.0  # of 2, 1, 2.5
    assert row.vs_limit_reused == 2.0
    assert row.difference_us == pytest.approx(-6000)  # of −2, −6, −10 ms
    assert row.vs_compile is None
    assert row.rounds == 3


def test_a_peer_of_fewer_rounds_counts_in_those():
    assert row_of(bnkit=[1.0, 1.0, 9.0], compile=[4.0, 6.0]).vs_compile == 5.0


@pytest.mark.parametrize(
    ("bnkit_ms", "torch_ms", "is_within"),
    [(1.04, 1.0, True), (1.06, 1.0, False), (0.109, 0.1, True), (0.111, 0.1, False), (1, 2, True)],
)
def test_slower_than_torch_by_5_percent_or_10_microseconds(bnkit_ms, torch_ms, is_within):
    assert row_of(bnkit=[bnkit_ms], torch=[torch_ms]).is_within_torch_bar is is_within


def test_what_was_refused_is_not_within_the_bar():
    row = row_of(torch=[1.0], absent={"bnkit": "wrong: y"})
    assert row.refusal == "wrong: y"
    assert row.vs_torch is None
    assert not row.is_within_torch_bar


def test_the_spread_of_one_value_and_of_five():
    assert Spread.of([2.0]) == (2.0, 2.0, 2.0, 2.0, 2.0)
    assert Spread.of([5.0, 1.0, 2.0, 4.0, 3.0]) == (3.0, 2.0, 4.0, 1.0, 5.0)


def test_as_json_a_row_has_every_peer_and_ratio():
    row = row_of(bnkit=[1.0, 1.0], torch=[3.0, 3.0], limit=[0.5, 0.5], limit_reused=[0.25, 0.25])
    content = json.loads(json.dumps(row.to_dict(), allow_nan=False))
    assert content["shape"] == list(CASE.shape)
    assert {key: content[key] for key in ("layout", "dtype", "operation", "mode", "pass")} == {
        "layout": "contiguous",
        "dtype": "float32",
        "operation": "bn-relu",
        "mode": "training",
        "pass": "both",
    }
    assert (content["vs_torch"], content["vs_limit"], content["vs_limit_reused"]) == (3, 2, 4)
    assert content["vs_compile"] is content["compile_ms"] is content["compile_spread_ms"] is None
    assert (content["bnkit_ms"], content["bnkit_forward_ms"]) == (1, 0.25)
    assert content["torch_backward_ms"] == 2.25
    assert content["torch_spread_ms"]["max"] == 3
    assert content["kernel"] == "eager"
    assert content["error_ulps"]["y"] == {"bnkit": 0.5, "torch": None, "allowed": 8.0}


def test_a_forward_alone_has_no_time_of_a_backward():
    row = row_of(case=Case((8, 16), passes="forward"), bnkit=[1.0])
    assert row.to_dict()["bnkit_backward_ms"] is None
    assert row.to_dict()["pass"] == "forward"
