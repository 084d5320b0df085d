"""Where each kind of claim holds, and the picture of it."""

from __future__ import annotations

import math

import pytest

from bnkit.lab.report.claimed_region import ClaimedRegion, claimed_region
from bnkit.lab.report.interval_picture import EDGE, WIDTH, interval_picture

INF = math.inf


@pytest.mark.parametrize(
    ("claim", "parts", "neutral"),
    [
        ({"kind": "higher"}, [(0, INF)], 0),
        ({"kind": "higher", "margin": 0.1}, [(0.1, INF)], 0),
        ({"kind": "lower", "margin": 0.1}, [(-INF, -0.1)], 0),
        ({"kind": "at-every-checkpoint"}, [(0, INF)], 0),
        ({"kind": "at-every-checkpoint", "metric": "train loss"}, [(-INF, 0)], 0),
        ({"kind": "at-every-checkpoint", "direction": "lower"}, [(-INF, 0)], 0),
        ({"kind": "trend", "direction": "lower"}, [(-INF, 0)], 0),
        ({"kind": "non-inferior", "margin": 0.02}, [(-0.02, INF)], 0),
        ({"kind": "non-inferior", "margin": 0.02, "metric": "test loss"}, [(-INF, 0.02)], 0),
        ({"kind": "equivalent", "margin": 0.02}, [(-0.02, 0.02)], 0),
        ({"kind": "which-is-better"}, [(-INF, 0), (0, INF)], 0),
        ({"kind": "which-is-better", "margin": 0.1}, [(-INF, -0.1), (0.1, INF)], 0),
        ({"kind": "ratio-at-least", "factor": 2.0}, [(2, INF)], 1),
    ],
)
def test_region(claim, parts, neutral):
    found = claimed_region({"metric": "test accuracy", **claim})
    assert list(found.parts) == parts
    assert found.neutral == neutral


def test_places_keep_the_order_and_the_distances():
    region = ClaimedRegion(((0.0, INF),), 0.0)
    picture = interval_picture(3.0, 1.0, 4.0, region, is_ratio=False)
    assert picture is not None
    zero = picture.ticks[0].x
    assert EDGE < zero < picture.low < picture.effect < picture.high < WIDTH - EDGE
    unit = picture.low - zero
    # places are rounded to 0.01, so each distance is off by at most that, and the unit too
    assert picture.effect - zero == pytest.approx(3 * unit, abs=4 * 0.01)
    assert picture.high - zero == pytest.approx(4 * unit, abs=5 * 0.01)
    assert picture.shaded == ((zero, WIDTH),)
    assert [tick.label for tick in picture.ticks] == ["0"]


def test_ratio_is_drawn_on_a_logarithmic_axis():
    region = ClaimedRegion(((2.0, INF),), 1.0)
    picture = interval_picture(1.0, 0.5, 2.0, region, is_ratio=True)
    assert picture is not None
    assert picture.effect - picture.low == pytest.approx(picture.high - picture.effect, abs=0.02)
    assert [tick.label for tick in picture.ticks] == ["2", "1"]


def test_labels_that_would_overlap_are_left_out():
    region = ClaimedRegion(((0.001, INF),), 0.0)
    picture = interval_picture(1.0, 0.5, 2.0, region, is_ratio=False)
    assert picture is not None
    assert [tick.label for tick in picture.ticks] == ["0.001", ""]


@pytest.mark.parametrize(
    ("effect", "low", "high", "is_ratio"),
    [
        (None, None, None, False),
        (math.nan, 0.0, 1.0, False),
        (1.0, -INF, INF, False),
        (1.0, -1.0, 2.0, True),
    ],
)
def test_nothing_to_draw(effect, low, high, is_ratio):
    region = ClaimedRegion(((2.0, INF),), 1.0)
    assert interval_picture(effect, low, high, region, is_ratio=is_ratio) is None


@pytest.mark.parametrize("effect", [0.0, 0.5])
def test_effect_without_an_interval(effect):
    region = ClaimedRegion(((0.0, INF),), 0.0)
    picture = interval_picture(effect, None, None, region, is_ratio=False)
    assert picture is not None
    assert picture.low is None
    assert 0 < picture.effect < WIDTH
