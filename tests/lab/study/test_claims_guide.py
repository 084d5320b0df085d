"""Every number of docs/guides/verdicts.md, computed again."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from scipy import stats

from bnkit.lab.study.claim_keys import Kind, Reading
from bnkit.lab.study.claim_wording import FEWEST_FOR_SIGNS
from claim_trials import last_values

TEXT = (Path(__file__).parents[3] / "docs" / "guides" / "verdicts.md").read_text("utf-8")
PROSE = " ".join(TEXT.split())
STUDIES = 20_000


def stated(pattern: str) -> list[float]:
    """Return the numbers of the one place where the pattern matches."""
    found = re.findall(pattern, PROSE)
    assert len(found) == 1, f"{pattern!r} is in the guide {len(found)} times"
    numbers = found[0] if isinstance(found[0], tuple) else (found[0],)
    return [float(number.replace("−", "-")) for number in numbers]


def test_the_look_up_can_fail() -> None:
    with pytest.raises(AssertionError, match="0 times"):
        stated(r"not in the guide: (\d+)")


def test_the_table_has_every_kind() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \|", TEXT, flags=re.MULTILINE)
    assert sorted(rows) == sorted(get_args(Kind))


def test_the_table_has_every_reading() -> None:
    rows = re.findall(r"^   \| `([a-z-]+)` \|", TEXT, flags=re.MULTILINE)
    assert rows == [*get_args(Reading)]


def test_the_numbers_of_the_sign_test() -> None:
    (nine,) = stated(r"eight seeds of nine have p = ([\d.]+)\.")
    (five,) = stated(r"for five of five have p = ([\d.]+)\.")
    assert nine == round(stats.binomtest(8, 9).pvalue, 3)
    assert five == stats.binomtest(5, 5).pvalue
    assert "Six seeds are the fewest" in PROSE
    assert stats.binomtest(FEWEST_FOR_SIGNS, FEWEST_FOR_SIGNS).pvalue < 0.05 < five
    assert FEWEST_FOR_SIGNS == 6


def test_the_points_of_students_t() -> None:
    points = stated(r"freedom: ([\d.]+) for three seeds, ([\d.]+) for five, ([\d.]+) for ten")
    assert points == [round(stats.t.ppf(0.975, n - 1), 2) for n in (3, 5, 10)]


def test_the_worked_example() -> None:
    differences = stated(r"differences ([\d.]+), ([\d.]+) and ([\d.]+) have")
    mean, error, t, p = stated(
        r"have mean ([\d.]+) and standard error ([\d.]+), so t = ([\d.]+) and p = ([\d.]+)\."
    )
    low, high = stated(r"interval is \[(−?[\d.]+), ([\d.]+)\]: inconclusive")
    expected = stats.ttest_1samp(differences, 0.0)
    assert mean == pytest.approx(np.mean(differences))
    assert error == round(stats.sem(differences), 5)
    assert t == round(expected.statistic, 2)
    verdict = last_values([0.5 + d for d in differences], [0.5] * 3).verdict("higher")
    assert verdict.outcome == "inconclusive"
    assert verdict.p is not None and verdict.low is not None and verdict.high is not None
    assert p == round(verdict.p, 3) == round(expected.pvalue, 3)
    assert (low, high) == (round(verdict.low, 3), round(verdict.high, 3))


def test_seeds_that_agree() -> None:
    images, again = stated(r"on (\d+) images moves in steps of h = 1/(\d+)\.")
    one, ten = stated(r"three seeds has p = ([\d.]+), ten images more have p = ([\d.]+)\.")
    assert images == again
    for more, p, decimals in ((1, one, 3), (10, ten, 5)):
        hits = [80, 77, 76]
        trials = last_values([(hit + more) / images for hit in hits], [h / images for h in hits])
        verdict = trials.verdict("higher")
        assert verdict.p is not None
        t = more * np.sqrt(6) * np.sqrt(3)
        assert p == round(verdict.p, decimals) == round(2 * stats.t.sf(t, 2), decimals)


def percentile_bootstrap_excludes_zero(differences: np.ndarray) -> np.ndarray:
    """Return, per row, whether the percentile interval over all nⁿ resamples leaves out 0."""
    n = differences.shape[1]
    draws = np.array(list(itertools.product(range(n), repeat=n)))
    counts = np.stack([(draws == index).sum(axis=1) for index in range(n)], axis=1)
    weights, repeats = np.unique(counts, axis=0, return_counts=True)
    means = differences @ weights.T / n
    order = np.argsort(means, axis=1)
    means = np.take_along_axis(means, order, axis=1)
    share = np.cumsum(repeats[order], axis=1) / n**n
    rows = np.arange(len(means))
    low = means[rows, (share >= 0.025).argmax(axis=1)]
    high = means[rows, (share >= 0.975).argmax(axis=1)]
    return (low > 0) | (high < 0)


def t_excludes_zero(differences: np.ndarray) -> np.ndarray:
    return stats.ttest_1samp(differences, 0.0, axis=1).pvalue < 0.05


def assert_rate(excluded: np.ndarray, percent: float) -> None:
    """Compare a simulated rate with one rounded to whole percents."""
    rate = percent / 100
    chance = 3.3 * np.sqrt(rate * (1 - rate) / len(excluded))
    assert abs(excluded.mean() - rate) <= 0.005 + chance


def test_the_percentile_bootstrap_excludes_the_truth_too_often() -> None:
    generator = np.random.default_rng(0)
    three = stated(r"same sign: in (\d+) % of studies")
    five = stated(r"Over five pairs it is (\d+) %")
    for seeds, (percent,) in ((3, three), (5, five)):
        differences = generator.normal(size=(STUDIES, seeds))
        assert_rate(percentile_bootstrap_excludes_zero(differences), percent)
        assert_rate(t_excludes_zero(differences), 5)
        with pytest.raises(AssertionError):
            assert_rate(percentile_bootstrap_excludes_zero(differences), 5)
    same_sign = np.abs(np.sign(differences[:, :3]).sum(axis=1)) == 3
    assert (percentile_bootstrap_excludes_zero(differences[:, :3]) == same_sign).all()


def test_lopsided_differences_are_the_limit_of_t() -> None:
    generator = np.random.default_rng(0)
    few, ten = stated(
        r"in about (\d+) % of studies of three or five seeds, and in (\d+) % of studies of ten"
    )
    for seeds, percent in ((3, few), (5, few), (10, ten)):
        differences = generator.exponential(size=(STUDIES, seeds)) - 1
        assert_rate(t_excludes_zero(differences), percent)
