"""Simulated studies: how often a verdict is false where arms do not differ, and true where they do.

A study counts as false if any of its verdicts is. The rate is held to 5 % within what chance allows
for the number of studies simulated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import get_args

import numpy as np
import polars as pl
import pytest
from scipy.special import ndtr
from scipy.stats import binom

from bnkit.lab.store.schema import TrialRecord
from bnkit.lab.study import claim_evaluation
from bnkit.lab.study.claim_keys import Kind
from bnkit.lab.study.claim_settings import ClaimSettings
from bnkit.lab.study.claims import judge
from claim_trials import claim, most_allowed

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
METRICS = ("first", "second", "third", "shifted")
EPOCHS, GRID = 2, (1.0, 2.0)
SHIFT = 0.25

DRAWS: dict[str, Draw] = {
    "normal": lambda generator, shape: 10 + generator.normal(size=shape),
    "skewed": lambda generator, shape: 0.1 + generator.exponential(size=shape),
    # an accuracy on 96 images that mostly differs by one image: many seeds agree
    "rounded": lambda generator, shape: (60 + np.round(generator.normal(size=shape))) / 96,
}

# Each would be false if supported, and false if refuted: no effect, or one on the boundary itself.
ALL_KINDS = [
    claim("higher", "first"),
    claim("lower", "second"),
    claim("at-every-checkpoint", "third", direction="higher"),
    claim("ratio-at-least", "first", factor=1.0),
    claim("which-is-better", "third"),
    claim("trend", "second", along="lr", direction="higher"),
    claim("equivalent", "shifted", margin=SHIFT),
    claim("non-inferior", "shifted", margin=SHIFT, direction="lower"),
]


def simulate(
    draw: Draw, seeds: int, generator: np.random.Generator, effect: float = 0.0
) -> tuple[list[TrialRecord], pl.DataFrame]:
    """Return a study whose arms do not differ, but for SHIFT in one metric and `effect` in all."""
    trials = [
        TrialRecord(f"{arm}-{rate}-{seed}", arm, seed, {"lr": rate}, {}, 10)
        for arm in ("with", "without")
        for rate in GRID
        for seed in range(seeds)
    ]
    values = draw(generator, (len(trials), EPOCHS, len(METRICS)))
    values[: len(trials) // 2] += effect
    values[: len(trials) // 2, :, METRICS.index("shifted")] += SHIFT
    epochs = np.tile(np.repeat(np.arange(1, EPOCHS + 1), len(METRICS)), len(trials))
    frame = pl.DataFrame(
        {
            "trial": np.repeat([trial.id for trial in trials], EPOCHS * len(METRICS)),
            "step": epochs * 10,
            "epoch": epochs,
            "metric": np.tile(METRICS, len(trials) * EPOCHS),
            "value": values.ravel(),
        }
    )
    nothing = pl.lit(None, pl.String)
    return trials, frame.with_columns(layer=nothing, key=nothing, unit=nothing)


def false_studies(
    claims: Sequence[ClaimSettings], draw: Draw, seeds: int, studies: int, random_seed: int = 0
) -> int:
    """Return how many of the simulated studies have at least one verdict."""
    generator = np.random.default_rng([random_seed, seeds])
    return sum(
        any(
            verdict.outcome != "inconclusive"
            for verdict in judge(claims, *simulate(draw, seeds, generator))
        )
        for _ in range(studies)
    )


@pytest.fixture
def without_bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bootstrap stands beside the verdict and has no part in it; it would take most time."""
    monkeypatch.setattr(claim_evaluation, "bca_interval", lambda values: None)


@pytest.mark.usefixtures("without_bootstrap")
@pytest.mark.parametrize(
    ("seeds", "studies"),
    [
        # With few seeds a wrong verdict is likeliest. So many studies find a rate of 11 %; those
        # that find smaller ones take longer.
        (3, 200),
        pytest.param(3, 500, marks=pytest.mark.slow),
        pytest.param(5, 300, marks=pytest.mark.slow),
        pytest.param(10, 150, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("draw", DRAWS)
def test_studies_of_all_kinds_keep_their_level(draw: str, seeds: int, studies: int) -> None:
    assert {each.kind for each in ALL_KINDS} == set(get_args(Kind))
    false = false_studies(ALL_KINDS, DRAWS[draw], seeds, studies)
    assert false <= most_allowed(studies)


@pytest.mark.usefixtures("without_bootstrap")
@pytest.mark.parametrize("seeds", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (5, 10))])
def test_one_claim_alone_is_false_neither_more_nor_less_often_than_said(seeds: int) -> None:
    studies = 500
    false = false_studies([claim("which-is-better", "first")], DRAWS["normal"], seeds, studies)
    assert binom.ppf(0.001, studies, 0.05) <= false <= most_allowed(studies)


@pytest.mark.usefixtures("without_bootstrap")
@pytest.mark.parametrize("kind", ["at-every-checkpoint", "ratio-at-least", "equivalent"])
def test_one_claim_of_a_kind_with_its_own_arithmetic_keeps_its_level(kind: str) -> None:
    alone = [each for each in ALL_KINDS if each.kind == kind]
    assert false_studies(alone, DRAWS["normal"], 5, 200) <= most_allowed(200)


@pytest.mark.usefixtures("without_bootstrap")
def test_the_level_check_fails_for_a_normal_quantile(monkeypatch: pytest.MonkeyPatch) -> None:
    def p_of_normal(distance: np.ndarray, error: np.ndarray, n: int) -> np.ndarray:
        return 2 * ndtr(-np.abs(distance) / error)

    monkeypatch.setattr(claim_evaluation, "two_sided_p", p_of_normal)
    assert false_studies(ALL_KINDS, DRAWS["normal"], 3, 100) > most_allowed(100)
    assert false_studies([claim("higher", "first")], DRAWS["normal"], 5, 200) > most_allowed(200)


@pytest.mark.usefixtures("without_bootstrap")
def test_the_level_check_fails_without_holm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnkit.lab.study.claims.holm", list)
    assert false_studies(ALL_KINDS, DRAWS["normal"], 5, 150) > most_allowed(150)


@pytest.mark.usefixtures("without_bootstrap")
@pytest.mark.parametrize("is_patched", [False, True])
def test_the_level_check_fails_for_coarse_values_that_agree_without_their_resolution(
    monkeypatch: pytest.MonkeyPatch, is_patched: bool
) -> None:
    def coarse(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return (60 + np.round(0.7 * generator.normal(size=shape))) / 96

    place = {"lr": GRID[0]}
    claims = [
        claim("higher", "first", where=place),
        claim("lower", "second", where=place),
        claim("which-is-better", "third", where=place),
        claim("non-inferior", "shifted", where=place, margin=SHIFT, direction="lower"),
    ]
    if is_patched:
        monkeypatch.setattr(claim_evaluation, "_with_resolution", lambda estimate, _: estimate)
    assert (false_studies(claims, coarse, 3, 400) > most_allowed(400)) == is_patched


@pytest.mark.usefixtures("without_bootstrap")
@pytest.mark.parametrize("seeds", [3, 10])
def test_a_large_effect_is_found(seeds: int) -> None:
    # the seeds' differences have standard deviation 1 to 1.4, and the effect is 60
    claims = [
        claim("higher", "first"),
        claim("at-every-checkpoint", "second", direction="higher"),
        claim("non-inferior", "third", margin=SHIFT),
        claim("which-is-better", "shifted"),
    ]
    generator = np.random.default_rng(seeds)
    for _ in range(10):
        trials, metrics = simulate(DRAWS["normal"], seeds, generator, effect=60.0)
        verdicts = judge(claims, trials, metrics)
        assert [verdict.outcome for verdict in verdicts] == ["supported"] * 4
        swapped = [c.model_copy(update={"better": "without", "than": "with"}) for c in claims]
        outcomes = [verdict.outcome for verdict in judge(swapped, trials, metrics)]
        assert outcomes == ["refuted", "refuted", "refuted", "supported"]


def test_the_bootstrap_changes_no_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    study = simulate(DRAWS["normal"], 10, generator, effect=0.8)
    whole = judge(ALL_KINDS, *study)
    monkeypatch.setattr(claim_evaluation, "bca_interval", lambda values: None)
    bare = judge(ALL_KINDS, *study)
    assert all(verdict.bootstrap_low is not None for verdict in whole)
    assert all(verdict.bootstrap_low is None for verdict in bare)
    assert [(v.outcome, v.p_adjusted) for v in whole] == [(v.outcome, v.p_adjusted) for v in bare]
