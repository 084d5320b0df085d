"""Results written before claims had readings are read, shown and judged again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bnkit
from bnkit.lab.study_result import StudyResult

RATE = "training.optimizer.lr"
NEW_FIELDS = ("quantity", "bounds", "effect_bound", "not_known")
COMMON: dict[str, Any] = {"text": "a claim", "better": "with", "than": "without"}
STUDY: dict[str, Any] = {
    "study": {"name": "small"},
    "data": {"name": "digits", "batch_size": 128},
    "network": {"name": "dense", "args": {"hidden": [8]}},
    "training": {"epochs": 1, "optimizer": {"name": "sgd", "lr": 0.1}},
    "grid": {"seed": [0], RATE: [0.1, 1e8]},
    "claims": [
        {**COMMON, "id": "accuracy", "kind": "higher", "metric": "test accuracy"},
        {**COMMON, "id": "rate", "kind": "higher", "reading": "largest-usable", "along": RATE},
        {
            **COMMON,
            "id": "epochs",
            "kind": "lower",
            "metric": "test accuracy",
            "reading": "epochs-to-target",
            "target": 1.0,
            "where": {RATE: 0.1},
        },
    ],
}


def test_old_results_are_read_with_defaults_and_judged_anew(tmp_path: Path) -> None:
    new = bnkit.lab.run(STUDY, out=tmp_path, workers=1)
    rate, epochs = new.verdicts[1:]
    assert rate.quantity == f"largest usable {RATE}"
    assert rate.means == {"with": 0.1, "without": 0.1}
    assert epochs.reason == "test accuracy reaches 1 in no trial"
    file = tmp_path / "results.json"
    content = json.loads(file.read_text("utf-8"))
    for verdict in content["verdicts"]:
        for field in NEW_FIELDS:
            del verdict[field]
    file.write_text(json.dumps(content), "utf-8")
    old = StudyResult.read(tmp_path)
    assert [verdict.outcome for verdict in old.verdicts] == [v.outcome for v in new.verdicts]
    assert {verdict.quantity for verdict in old.verdicts} == {""}
    assert "test accuracy" in old.report().read_text("utf-8")
    assert str(old)
    again = bnkit.lab.judge_again(tmp_path)
    assert again.verdicts == new.verdicts
