"""Claims of the catalogue about what probes record: each metric, layer and key is recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnkit.lab.data import open_source
from bnkit.lab.probes import PROBES, ProbeSettings
from bnkit.lab.store import TrialStore
from bnkit.lab.study.spec import plan
from bnkit.lab.study.study_file import find_study, resolve, study_names
from bnkit.lab.study.trial import TrialJob, run_trial

PROBED = [name for name in study_names() if resolve(find_study(name), quick=True).probes]
OF_PROBES = {metric.name for entry in PROBES.values() for metric in entry.metrics}


@pytest.mark.parametrize("name", PROBED)
def test_what_a_claim_names_is_recorded(name: str, tmp_path: Path) -> None:
    settings = resolve(find_study(name), quick=True)
    claims = [claim for claim in settings.claims if claim.metric in OF_PROBES]
    assert claims, "the probe is of no use to the study"
    trials = {trial.arm: trial for trial in plan(settings)}
    for arm in sorted({claim.better for claim in claims}):
        trial, update = trials[arm], {}
        update["training"] = trial.settings.training.model_copy(update={"epochs": None, "steps": 2})
        update["probes"] = tuple(
            probe if _is_final(probe) else probe.model_copy(update={"when": 1})
            for probe in trial.settings.probes
        )
        # As many test images as the largest batch that a probe takes by itself.
        update["data"] = trial.settings.data.model_copy(update={"test_examples": 256})
        trial = trial.model_copy(update={"settings": trial.settings.model_copy(update=update)})
        data = open_source(trial.settings.data).load()
        record = run_trial(TrialJob(arm, trial), data, tmp_path, lambda _: None)
        rows = TrialStore(tmp_path).metrics([record.id])
        recorded = {(row["metric"], row["layer"], row["key"]) for row in rows.to_dicts()}
        for claim in claims:
            if arm == claim.better:
                assert (claim.metric, claim.layer, claim.better_key or claim.key) in recorded, (
                    claim.id
                )
            if arm == claim.than and claim.than_key:
                assert (claim.metric, claim.layer, claim.than_key) in recorded, claim.id


def _is_final(probe: ProbeSettings) -> bool:
    return (probe.when or PROBES[probe.kind].when) == "end"
