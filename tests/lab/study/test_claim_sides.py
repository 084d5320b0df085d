"""Claims that compare two keys of a metric: paired within an arm, or between two."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from bnkit.errors import StudyError
from bnkit.lab.store import MetricRow
from bnkit.lab.study.spec import validate
from claim_trials import Trials, claim

METRIC = "pruned accuracy"
SAME_ARM = {"than": "with", "better_key": "scale 0.5", "than_key": "random 0.5"}


def pruned(**values: list[float]) -> Trials:
    """Return trials of arm "with", one seed per value of each way, and others in "without"."""
    trials = Trials()
    for seed in range(len(next(iter(values.values())))):
        for arm, shift in (("with", 0.0), ("without", 0.3)):
            trial = trials.add(arm, seed, [0.9])
            for way, found in values.items():
                row = MetricRow(10, 1, METRIC, found[seed] + shift, "share", key=f"{way} 0.5")
                trials.row(trial, row)
    return trials


SCALE, RANDOM = [0.80, 0.82, 0.85, 0.81], [0.70, 0.75, 0.72, 0.73]
TRIALS = pruned(scale=SCALE, random=RANDOM)


def test_two_keys_of_one_arm_are_paired_by_seed() -> None:
    expected = stats.ttest_rel(SCALE, RANDOM)
    verdict = TRIALS.verdict("higher", METRIC, **SAME_ARM)
    assert verdict.outcome == "supported", verdict.reason
    assert verdict.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert verdict.effect == pytest.approx(np.mean(SCALE) - np.mean(RANDOM))
    assert verdict.arms == ("with, scale 0.5", "with, random 0.5")
    means = {verdict.arms[0]: np.mean(SCALE), verdict.arms[1]: np.mean(RANDOM)}
    assert verdict.means == pytest.approx(means)
    assert (verdict.seeds, verdict.unit, verdict.quantity) == (4, "share", METRIC)
    assert TRIALS.verdict("lower", METRIC, **SAME_ARM).outcome == "refuted"


def test_keys_of_two_arms_are_compared_across_them() -> None:
    keys = {"better_key": "scale 0.5", "than_key": "random 0.5", "published": {"without": 0.5}}
    verdict = TRIALS.verdict("higher", METRIC, **keys)
    expected = np.mean(SCALE) - np.mean(RANDOM) - 0.3
    assert verdict.effect == pytest.approx(expected)
    assert verdict.outcome == "refuted"
    assert verdict.published == {"without, random 0.5": 0.5}


def test_the_better_key_is_named() -> None:
    keys = {**SAME_ARM, "better_key": "random 0.5", "than_key": "scale 0.5"}
    verdict = TRIALS.verdict("which-is-better", METRIC, **keys)
    assert verdict.winner == "with, scale 0.5"


def test_other_claims_of_the_study_are_judged_as_ever() -> None:
    keyed = claim("higher", METRIC, **SAME_ARM)
    one_key = claim("lower", METRIC, key="scale 0.5")
    found = TRIALS.judge(keyed, one_key)
    alone = TRIALS.judge(one_key)[0]
    assert found[1].arms == ("with", "without")
    assert (found[1].effect, found[1].p) == (alone.effect, alone.p)
    assert found[1].effect == pytest.approx(-0.3)


def test_a_key_that_was_not_recorded_makes_it_untestable() -> None:
    verdict = TRIALS.verdict("higher", METRIC, **{**SAME_ARM, "than_key": "random 0.9"})
    assert verdict.outcome == "inconclusive"
    assert "'with, random 0.9' has no pruned accuracy" in verdict.reason
    both = TRIALS.verdict(
        "higher", METRIC, **{**SAME_ARM, "better_key": "scale 0.9", "than_key": "random 0.9"}
    )
    assert both.outcome == "inconclusive"
    assert "random 0.5" in both.reason


def test_a_diverged_trial_has_no_value_and_is_said() -> None:
    trials = pruned(scale=SCALE, random=RANDOM)
    trials.add("with", 9, [0.1], diverged_step=10)
    verdict = trials.verdict("higher", METRIC, **SAME_ARM)
    assert verdict.seeds == 4
    assert verdict.diverged == {"with, scale 0.5": 1, "with, random 0.5": 1}
    assert "seed 9" in verdict.reason


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"better_key": "a"}, "go together"),
        ({"than_key": "a"}, "go together"),
        ({"better_key": "a", "than_key": "b", "key": "c"}, "not all three"),
        ({"better_key": "a", "than_key": "a", "than": "with"}, "same arm and the same key"),
        ({"better_key": "a", "than_key": "b", "than": None, "than_value": 1.0}, "needs than"),
        ({**SAME_ARM, "published": {"with": 0.5}}, "published is by arm"),
    ],
)
def test_keys_that_do_not_fit(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        claim("higher", METRIC, **keys)


def study(metric: str, **keys: object) -> dict[str, object]:
    about = {"id": "a", "text": "a claim", "kind": "higher", "metric": metric, "better": "with"}
    return {
        "study": {"name": "own"},
        "data": {"name": "digits"},
        "network": {"name": "three-conv"},
        "training": {"epochs": 1, "optimizer": {"name": "sgd", "lr": 0.1}},
        "arms": {"with": {"norm": "batch"}},
        "probes": [{"kind": "pruned-accuracy"}],
        "claims": [{**about, **SAME_ARM, **keys}],
    }


def test_a_study_file_may_compare_keys_where_there_are_keys() -> None:
    settings = validate(study(METRIC), "own.toml")
    assert validate(settings.to_dict(), "again").claims == settings.claims
    with pytest.raises(StudyError, match="names a key of test accuracy"):
        validate(study("test accuracy"), "own.toml")
