"""Thinned series keep their ends, their peaks and their gaps."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from bnkit.lab.report.thinning import points_per_series, thin, thinned_text


def frame_of(values, group="a"):
    return pl.DataFrame(
        {"group_name": group, "step": range(len(values)), "low": values, "high": values},
        schema_overrides={"low": pl.Float64, "high": pl.Float64},
    )


def thinned(frame, limit=40):
    return thin(frame, ["group_name"], limit=limit, lows=["low"], highs=["high"])


@pytest.mark.parametrize("place", [0, 1, 777, 998, 999])
@pytest.mark.parametrize("peak", [50.0, -50.0])
def test_a_single_peak_stays(place, peak):
    values = list(np.sin(np.arange(1000)))
    values[place] = peak
    found = thinned(frame_of(values))
    assert peak in found["low"].to_list()
    assert found["step"].to_list()[0] == 0
    assert found["step"].to_list()[-1] == 999
    assert found.height <= 42
    assert found["recorded"].unique().to_list() == [1000]


def test_values_are_recorded_ones_in_order():
    values = list(np.random.default_rng(0).normal(size=500))
    found = thinned(frame_of(values))
    assert found["low"].to_list() == [values[step] for step in found["step"]]
    assert found["step"].is_sorted()


def test_a_gap_stays():
    values = [1.0] * 500
    values[250] = None
    assert thinned(frame_of(values)).filter(pl.col("low").is_null())["step"].to_list() == [250]


def test_short_groups_stay_whole_beside_long_ones():
    both = pl.concat([frame_of([1.0, 2.0, 3.0]), frame_of(list(np.arange(300.0)), "b")])
    found = thinned(both)
    assert found.filter(group_name="a")["low"].to_list() == [1, 2, 3]
    assert found.filter(group_name="b").height <= 42


def test_nothing_stays_nothing():
    assert thinned(frame_of([])).height == 0


def test_room_is_shared_between_series():
    frame = pl.concat([frame_of([1.0], name) for name in "abcd"])
    assert points_per_series(frame, ["group_name"], 8_000, 10) == 200
    assert points_per_series(frame, ["group_name"], 80, 10) == 32
    assert points_per_series(frame, ["group_name"], 10**9, 10) == 400


def test_thinning_is_said():
    assert thinned_text(400, 5000).startswith("Drawn at 400 of 5,000 recorded steps")
    assert thinned_text(30, 30) == ""
