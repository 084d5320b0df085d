"""The answer in one sentence."""

from __future__ import annotations

import pytest

from bnkit.lab.report.answer import answer

S, R, I = "supported", "refuted", "inconclusive"  # noqa: E741


@pytest.mark.parametrize(
    ("outcomes", "lead", "rest", "tone"),
    [
        (
            [],
            "No claims",
            "the study states none; curves and tables show what was measured.",
            "none",
        ),
        ([S], "Supported", "“it is higher”, over 5 seeds.", S),
        ([R], "Refuted", "“it is higher”, over 5 seeds.", R),
        ([I], "Inconclusive", "“it is higher”, over 5 seeds (the interval holds 0).", I),
        ([S, S], "Supported", "2 of 2 claims, over 5 seeds.", S),
        ([R, R, R], "Refuted", "3 of 3 claims, over 5 seeds.", R),
        ([I, I], "Inconclusive", "2 of 2 claims, over 5 seeds.", I),
        ([S, R], "Mixed", "of 2 claims 1 supported and 1 refuted, over 5 seeds.", "mixed"),
        (
            [I, S, R, S],
            "Mixed",
            "of 4 claims 2 supported, 1 refuted and 1 inconclusive, over 5 seeds.",
            "mixed",
        ),
    ],
)
def test_answer(outcomes, lead, rest, tone, make_study, make_verdict):
    verdicts = [
        make_verdict(outcome=outcome, text="it is higher.", reason="the interval holds 0")
        for outcome in outcomes
    ]
    found = answer(verdicts, make_study(epochs=1).trials)
    assert (found.lead, found.rest, found.tone) == (lead, rest, tone)


def test_claims_over_different_numbers_of_seeds(make_study, make_verdict):
    verdicts = [make_verdict(seeds=3), make_verdict(seeds=5)]
    assert "over 3 to 5 seeds" in answer(verdicts, make_study(epochs=1).trials).rest


def test_without_trials_there_is_no_answer(make_verdict):
    assert answer([make_verdict()], []).lead == "No trials"


def test_every_trial_diverged(make_study, make_verdict):
    lost = {(arm, 0, 0): 45 for arm in ("without", "with")}
    study = make_study(seeds=(0,), epochs=1, diverged=lost)
    verdicts = [make_verdict(outcome="inconclusive", seeds=0) for _ in range(2)]
    assert answer(verdicts, study.trials).rest == (
        "2 of 2 claims, over 0 seeds; every trial diverged."
    )
