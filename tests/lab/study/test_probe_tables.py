"""`[[probes]]` tables of a study file: what is refused, and what claims may name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bnkit import lab
from bnkit.errors import ProbeError, StudyError
from bnkit.lab.study.fingerprints import trial_id
from bnkit.lab.study.spec import plan, validate

CLAIM = {"id": "c", "text": "t", "kind": "higher", "better": "with", "than": "without"}
BASE: dict[str, Any] = {
    "study": {"name": "example"},
    "data": {"name": "digits", "train_examples": 60, "test_examples": 40},
    "network": {"name": "dense", "args": {"hidden": [4, 4]}},
    "training": {"steps": 3, "optimizer": {"name": "sgd", "lr": 0.1}},
    "grid": {"seed": [0, 1, 2]},
}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "gradient-norm"}, "Did you mean 'gradient-norms'"),
        ({"kind": "gradient-norms", "when": "daily"}, "when = 'daily'"),
        ({"kind": "gradient-norms", "example": 3}, "has no option 'example'"),
        ({"kind": "activation-percentiles", "examples": "all"}, "examples = 'all'"),
        ({"when": 3}, "probes.0.kind is missing"),
    ],
)
def test_what_is_no_probe_is_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        validate({**BASE, "probes": [table]}, "x")


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        ({"metric": "gradient norm"}, "must say which layer"),
        ({"metric": "gradient norm", "layer": "0", "key": "1"}, "recorded per layer; leave key"),
        ({"metric": "activation percentile", "layer": "0"}, 'add ..probes.. with kind = "activ'),
        ({"metric": "test loss", "layer": "0"}, "one value per checkpoint; leave layer"),
    ],
)
def test_claims_name_what_probes_record(claim: dict[str, Any], message: str) -> None:
    content = {**BASE, "probes": [{"kind": "gradient-norms"}], "claims": [{**CLAIM, **claim}]}
    with pytest.raises(StudyError, match=message):
        validate(content, "x")


def test_probes_change_the_id_of_a_trial_and_none_leaves_it() -> None:
    def first_id(content: dict[str, Any]) -> str:
        return trial_id(plan(validate(content, "x"))[0], {})

    ids = {first_id({**BASE, "probes": tables}) for tables in ([], [{"kind": "gradient-norms"}])}
    assert len(ids) == 2
    assert first_id(BASE) in ids


def test_a_study_records_judges_and_notes(tmp_path: Path) -> None:
    probes = [
        {"kind": "gradient-norms", "when": 1},
        {"kind": "activation-percentiles", "when": [99]},
    ]
    claims = [{**CLAIM, "metric": "gradient norm ratio"}]
    result = lab.run({**BASE, "probes": probes, "claims": claims}, out=tmp_path, workers=1)
    recorded = result.metrics.filter(metric="gradient norm")
    assert sorted(recorded["step"].unique()) == [1, 2, 3]
    assert recorded["layer"].n_unique() == 3
    assert result.verdicts[0].effect is not None
    assert any("'activation-percentiles' ran at no time" in note for note in result.stored.notes)


def test_a_layer_that_is_not_there_is_refused_before_training(tmp_path: Path) -> None:
    probes = [{"kind": "gradient-norms", "layers": "features.*"}]
    with pytest.raises(ProbeError, match=r"probe gradient-norms.*names no layer"):
        lab.run({**BASE, "probes": probes, "claims": []}, out=tmp_path, workers=1)
    assert not list(tmp_path.iterdir())
