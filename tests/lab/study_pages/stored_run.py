"""A study of the catalogue as a run would store it, without training it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bnkit.lab.store import MetricRow, TrialRecord, TrialStore
from bnkit.lab.store.study_store import write_results, write_settings
from bnkit.lab.study import find_study, judge, plan, resolve, summarize

PRIVATE = "/srv/somebody/secret"
COMMAND = (
    f"bnkit study run digits --quick --workers 1 --data-dir {PRIVATE}/data "
    f"--set network.name={PRIVATE}/net.py:build --out={PRIVATE}/runs"
)


def write_run(
    root: Path, command: str = COMMAND, notes: tuple[str, ...] = (), quick: bool = True
) -> Path:
    """Write a finished run of `digits`, with paths in all its texts; return its folder."""
    settings = resolve(find_study("digits"), quick=quick)
    store = TrialStore(root)
    store.prepare()
    records = []
    for index, trial in enumerate(plan(settings)):
        accuracy = {"with": 0.97, "without": 0.9}[trial.arm] + 0.001 * trial.seed
        record = TrialRecord(
            id=f"{index:016x}",
            arm=trial.arm,
            seed=trial.seed,
            grid=trial.grid,
            spec={},
            classes=10,
            machine=machine(),
            versions={"torch": "2.13.0"},
            seconds=1.5,
        )
        rows = [
            MetricRow(step, step, metric, value, unit)
            for step in (0, 1)
            for metric, value, unit in (
                ("test accuracy", accuracy, "share"),
                ("train loss", 1 - accuracy, "nat"),
            )
        ]
        store.save(record, rows)
        records.append(record)
    metrics = store.metrics(record.id for record in records)
    content = settings.to_dict()
    write_settings(root, content)
    write_results(
        root,
        settings=content,
        trials=records,
        verdicts=judge(settings.claims, records, metrics),
        summaries=summarize(records, metrics),
        notes=[f"Images of {PRIVATE}/data/digits were read.", *notes],
        command=command,
    )
    return root


def machine() -> dict[str, Any]:
    """Return a machine as a trial stores it."""
    return {
        "system": "Linux-6.18.44-named-build-x86_64",
        "processor": "Processor X",
        "cores": 2,
        "accelerator": None,
    }
