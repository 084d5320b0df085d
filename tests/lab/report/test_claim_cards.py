"""Every kind of claim and every reading, from trials to the card that shows its verdict."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from bnkit.lab.report.claim_cards import claim_cards
from bnkit.lab.report.claimed_region import claimed_region
from bnkit.lab.report.page import render_page
from bnkit.lab.result_text import result_text
from bnkit.lab.store import StoredStudy
from bnkit.lab.study.claim_keys import KINDS_OF_RATIOS, OF_KIND, OF_READING, kinds_of
from claim_trials import Trials, claim

RATE = "training.optimizer.lr"
NEEDED = {
    "equivalent": {"margin": 0.5},
    "non-inferior": {"margin": 0.5},
    "ratio-at-least": {"factor": 1.5},
    "trend": {"along": RATE, "direction": "lower", "scale": "log"},
    "epochs-to-target": {"target": 0.9, "where": {RATE: 0.1}},
    "largest-usable": {"along": RATE},
}
PUBLISHED = {"with": 0.991, "without": 0.924}
PAIRS = [(kind, reading) for reading in OF_READING for kind in kinds_of(reading)]


def make_claim(kind, reading, **keys):
    metric = "" if reading == "largest-usable" else "test accuracy"
    content = {**NEEDED.get(kind, {}), **NEEDED.get(reading, {}), **keys}
    if kind == "trend":
        content.pop("where", None)
    named = {"id": f"{kind}-{reading}", "reading": reading, "published": PUBLISHED}
    return claim(kind, metric, **named, **content)


def grid_study(claims):
    """Return a study of 4 rates in which arm without diverges from 1 on and learns later."""
    trials = Trials()
    for seed in range(3):
        for rate in (0.01, 0.1, 1.0, 10.0):
            grid = {RATE: rate}
            late = seed / 100 - rate / 50
            trials.add("with", seed, [0.7 + late, 0.95, 0.9 + late], untrained=0.1, grid=grid)
            at = 15 if rate > (1.0 if seed else 0.1) else None
            curve = [0.3 + late] if at else [0.3 + late, 0.6, 0.92 + late if seed else 0.5]
            trials.add("without", seed, curve, untrained=0.1, diverged_step=at, grid=grid)
    return StoredStudy(
        settings={
            "arms": {"with": {}, "without": {}},
            "claims": [c.model_dump(mode="json", exclude_defaults=True) for c in claims],
        },
        trials=trials.records,
        metrics=trials.metrics,
        verdicts=trials.judge(*claims),
        summaries=[],
        notes=[],
        command="",
    )


def test_all_kinds_and_readings_are_here():
    assert {kind for kind, _ in PAIRS} == set(OF_KIND)
    assert {reading for _, reading in PAIRS} == set(OF_READING)


@pytest.mark.parametrize(("kind", "reading"), PAIRS)
def test_a_card_shows_what_was_compared_and_the_published_figures(kind, reading):
    study = grid_study([make_claim(kind, reading)])
    (card,) = claim_cards(study.settings, study.verdicts)
    verdict = card.verdict
    assert card.quantity == verdict.quantity
    assert verdict.quantity in card.effect_label
    assert [row.published.value for row in card.arms] == [0.991, 0.924]
    assert (card.picture is not None) == (verdict.effect is not None)
    assert card.effect_bound in ("", "≥ ", "≤ ")
    words = " ".join(result_text(study).split())
    assert "published: with 0.9910, without 0.9240" in words
    if verdict.effect is not None and reading != "last":
        assert f"{verdict.effect_name} of {verdict.quantity}" in words


@pytest.mark.parametrize("across", ["range", "deviation"])
def test_a_spread_over_the_grid_is_named(across):
    study = grid_study([make_claim("lower", "last", across=across)])
    (card,) = claim_cards(study.settings, study.verdicts)
    assert card.quantity.endswith("of test accuracy over the grid")
    assert card.verdict.at == "the last epoch (3), over 4 grid points"


def test_a_page_says_where_only_bounds_are_known(parse_page):
    claims = [make_claim("higher", "largest-usable"), make_claim("lower", "epochs-to-target")]
    study = grid_study(claims)
    page = parse_page(render_page(study))
    rate, epochs = page.all("article")
    assert "'with': 10, the largest of the grid, is still usable in 3 of 3 seeds" in rate.text
    assert "not known" in rate.all("table")[0].text
    assert "21.54" in rate.text  # of a wide ratio every number has four digits of its own
    assert "≥ " in rate.all("p", **{"class": "effect-size"})[0].text
    assert "The axis is logarithmic." in rate.text
    assert f"largest usable {RATE}" in rate.all("caption")[0].text
    assert "never reached in 1 of 3 trials" in epochs.text
    assert "≥ 3.333" in epochs.all("table")[0].text
    assert "≤ " in epochs.all("p", **{"class": "effect-size"})[0].text
    assert "epochs" in epochs.all("p", **{"class": "effect-size"})[0].text
    assert "logarithmic" not in epochs.text
    assert "≤ −" in result_text(study)


def test_a_verdict_by_order_alone_has_no_effect_and_no_unit(parse_page, make_study, make_verdict):
    lone = {"effect": None, "low": None, "high": None, "unit": "epochs", "not_known": {"with": "x"}}
    page = parse_page(render_page(make_study(verdicts=[make_verdict(**lone)])))
    shown = page.all("article")[0].all("p", **{"class": "effect-size"})[0].text
    assert shown == "n/a"


def test_a_verdict_of_before_there_were_readings_names_its_metric(make_study, make_verdict):
    study = make_study(verdicts=[make_verdict()])
    (card,) = claim_cards(study.settings, study.verdicts)
    assert card.quantity == "test accuracy"
    assert "not known" not in render_page(study)
    assert "difference +0.068" in result_text(study)


@pytest.mark.parametrize("kind", KINDS_OF_RATIOS)
def test_the_region_of_a_rate_begins_at_one(kind):
    content = {"kind": kind, "reading": "largest-usable", "factor": 2.0}
    region = claimed_region(content)
    assert region.neutral == 1.0
    assert region.bounds == [2.0 if kind == "ratio-at-least" else 1.0]


@pytest.mark.parametrize("kind", ["non-inferior", "which-is-better"])
@pytest.mark.parametrize(
    "keys",
    [{}, {"reading": "fluctuation"}, {"across": "range"}, {"metric": "test loss"}],
    ids=str,
)
def test_page_and_verdict_agree_on_what_is_better(kind, keys):
    keys = {"metric": "test accuracy", **keys}
    made = claim(kind, margin=0.1, **keys)
    region = claimed_region(made.model_dump(mode="json", exclude_defaults=True))
    if kind == "non-inferior":
        assert (region.parts[0][1] > 1) == (made.favours == "higher")
    else:
        assert len(region.parts) == 2


def test_curves_of_layers_do_not_disturb_a_claim_about_the_whole():
    study = grid_study([make_claim("higher", "area")])
    layered = study.metrics.with_columns(layer=pl.lit("conv1"), value=pl.lit(0.0))
    both = replace(study, metrics=pl.concat([study.metrics, layered]))
    assert "conv1" not in result_text(both)


def test_one_arm_against_a_number_says_the_number() -> None:
    claims = [claim("higher", than=None, than_value=0.5)]
    study = grid_study(claims)
    (card,) = claim_cards(study.settings, study.verdicts)
    assert card.effect_label == "Difference of test accuracy, with − 0.5"
    assert [figures.arm for figures in card.arms] == ["with"]
    assert "with − 0.5" in render_page(study)
    assert "supported" in result_text(study)
