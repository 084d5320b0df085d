"""Simulated studies of arms that do not differ, for every reading and every way across a grid.

As in `test_claims_simulated`, a study counts as false if any of its verdicts is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
import polars as pl
import pytest
from scipy.special import bdtrc

from bnkit.lab.store.schema import TrialRecord
from bnkit.lab.study import claim_evaluation
from bnkit.lab.study.claim_bounds import Signs
from bnkit.lab.study.claim_keys import Across, Reading
from bnkit.lab.study.claim_settings import ClaimSettings
from bnkit.lab.study.claims import judge
from claim_trials import claim, most_allowed

EPOCHS, GRID = 5, (0.01, 0.1, 1.0)
METRICS = ("one", "two", "three", "reach")
ONE = {"lr": GRID[0]}
# With few seeds a wrong verdict is likeliest; with more, simulating takes longer.
MORE_SEEDS = pytest.param(7, 150, marks=pytest.mark.slow)

CURVES = [
    claim("higher", "one", reading="best", where=ONE),
    claim("lower", "two", reading="fluctuation", where=ONE),
    claim("which-is-better", "three", reading="area", where=ONE),
    claim("lower", "one", id="range", across="range", from_epoch=None),
    claim("lower", "two", id="deviation", across="deviation"),
    claim("higher", "three", id="mean", across="mean", reading="best"),
]
TARGETS = [
    claim("lower", "reach", reading="epochs-to-target", target=target, where=ONE)
    for target in (0.3, 0.6, 0.8, 0.95)  # reached by nearly all trials … by few
]
EQUAL = [
    claim("higher", "smooth", reading="at-equal-loss", loss="fall"),
    claim("which-is-better", "smooth", id="which", reading="at-equal-loss", direction="lower"),
]
RATES = [
    claim("higher", "", reading="largest-usable", along="lr"),
    claim("which-is-better", "", id="which", reading="largest-usable", along="lr"),
    claim("ratio-at-least", "", id="ratio", reading="largest-usable", along="lr", factor=1.0),
]


def simulate(
    generator: np.random.Generator, seeds: int, grid: Sequence[float], usable: Sequence[int]
) -> tuple[list[TrialRecord], pl.DataFrame]:
    """Return a study whose arms do not differ.

    Each seed of an arm bears as many of the grid's rates as a draw from `usable` says.
    """
    trials = []
    for arm in ("with", "without"):
        for seed in range(seeds):
            count = generator.choice(usable)
            for place, rate in enumerate(grid):
                at = None if place < count else EPOCHS * 10
                status = "complete" if at is None else "diverged"
                name = f"{arm}-{rate}-{seed}"
                trials.append(TrialRecord(name, arm, seed, {"lr": rate}, {}, 10, status, at))
    shape = (len(trials), EPOCHS + 1, len(METRICS))
    values = np.linspace(0, 0.9, EPOCHS + 1)[:, None] + 0.1 * generator.normal(size=shape)
    epochs = np.tile(np.repeat(np.arange(EPOCHS + 1), len(METRICS)), len(trials))
    frame = pl.DataFrame(
        {
            "trial": np.repeat([trial.id for trial in trials], shape[1] * shape[2]),
            "step": epochs * 10,
            "epoch": epochs,
            "metric": np.tile(METRICS, shape[0] * shape[1]),
            "value": values.ravel(),
        }
    )
    nothing = pl.lit(None, pl.String)
    return trials, frame.with_columns(layer=nothing, key=nothing, unit=nothing)


def simulate_descents(
    generator: np.random.Generator, seeds: int
) -> tuple[list[TrialRecord], pl.DataFrame]:
    """Return a study whose arms descend at different speeds through one and the same landscape."""
    rows: list[tuple[str, int, int, str, float]] = []
    trials = []
    for arm, speed in (("with", 0.3), ("without", 0.1)):
        for seed in range(seeds):
            trials.append(TrialRecord(f"{arm}-{seed}", arm, seed, {}, {}, 10))
            losses = 2 * np.exp(-speed * np.arange(31)) + 0.02 * generator.normal(size=31)
            noise = 0.2 * generator.normal() + 0.3 * generator.normal(size=31)
            smooth = (0.2 + losses) * np.exp(noise)
            for step, (loss, value) in enumerate(zip(losses, smooth, strict=True)):
                named = {"fall": loss, "train loss": loss, "smooth": value}
                rows += [(trials[-1].id, step, -(-step // 10), *item) for item in named.items()]
    columns = ("trial", "step", "epoch", "metric", "value")
    nothing = pl.lit(None, pl.String)
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    return trials, frame.with_columns(layer=nothing, key=nothing, unit=nothing)


def false_studies(
    claims: Sequence[ClaimSettings],
    seeds: int,
    studies: int,
    grid: Sequence[float] = GRID,
    usable: Sequence[int] = (len(GRID),),
) -> int:
    """Return how many of the simulated studies have at least one verdict."""
    generator = np.random.default_rng([7, seeds])
    return sum(
        any(
            verdict.outcome != "inconclusive"
            for verdict in judge(claims, *simulate(generator, seeds, grid, usable))
        )
        for _ in range(studies)
    )


@pytest.fixture(autouse=True)
def without_bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bootstrap stands beside the verdict and has no part in it; it would take most time."""
    monkeypatch.setattr(claim_evaluation, "bca_interval", lambda values: None)


def test_every_reading_and_every_way_across_is_simulated() -> None:
    claims = [*CURVES, *TARGETS, *EQUAL, *RATES]
    assert {each.reading for each in claims} == set(get_args(Reading))
    assert {each.across for each in claims} == set(get_args(Across))


@pytest.mark.parametrize(("seeds", "studies"), [(3, 120), MORE_SEEDS])
def test_readings_of_curves_keep_their_level(seeds: int, studies: int) -> None:
    assert false_studies(CURVES, seeds, studies) <= most_allowed(studies)


@pytest.mark.parametrize(("seeds", "studies"), [(3, 40), (5, 25)])
def test_equal_losses_keep_their_level_and_equal_steps_do_not(seeds: int, studies: int) -> None:
    generator = np.random.default_rng([8, seeds])
    at_equal_steps = [claim("lower", "smooth", reading="area")]
    false = {"loss": 0, "steps": 0}
    for _ in range(studies):
        study = simulate_descents(generator, seeds)
        for way, claims in (("loss", EQUAL), ("steps", at_equal_steps)):
            false[way] += any(each.outcome != "inconclusive" for each in judge(claims, *study))
    assert false["loss"] <= most_allowed(studies)
    assert seeds < 5 or false["steps"] > most_allowed(studies)


@pytest.mark.parametrize("target", TARGETS, ids=lambda each: str(each.target))
@pytest.mark.parametrize(("seeds", "studies"), [(3, 200), MORE_SEEDS])
def test_epochs_to_a_target_keep_their_level(
    target: ClaimSettings, seeds: int, studies: int
) -> None:
    assert false_studies([target], seeds, studies, grid=GRID[:1]) <= most_allowed(studies)


@pytest.mark.parametrize("usable", [(0, 1, 2, 3), (1, 2), (2, 3), (0, 3)], ids=str)
@pytest.mark.parametrize(("seeds", "studies"), [(3, 150), MORE_SEEDS])
def test_largest_usable_rates_keep_their_level(
    usable: Sequence[int], seeds: int, studies: int
) -> None:
    assert false_studies(RATES, seeds, studies, usable=usable) <= most_allowed(studies)


def test_the_level_check_fails_for_a_sign_test_of_the_wrong_tail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def wrong(signs: Signs) -> float:
        # P(B > k), one-sided, for 2 · P(B ≥ k)
        return float(bdtrc(max(signs.above, signs.below), signs.compared, 0.5))

    claims = [TARGETS[2]]
    assert false_studies(claims, 9, 100, grid=GRID[:1]) <= most_allowed(100)
    monkeypatch.setattr(Signs, "p", property(wrong))
    assert false_studies(claims, 9, 100, grid=GRID[:1]) > most_allowed(100)


@pytest.mark.slow  # about sixteen thousand studies
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_each_claim_alone_keeps_its_level(seeds: int) -> None:
    for each in [*CURVES, *TARGETS]:
        grid = GRID if not each.where else GRID[:1]
        assert false_studies([each], seeds, 400, grid=grid) <= most_allowed(400), each
    for usable in ((0, 1, 2, 3), (1, 2), (2, 3), (0, 3)):
        assert false_studies(RATES[:1], seeds, 400, usable=usable) <= most_allowed(400), usable
