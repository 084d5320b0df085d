"""What a recorder holds, written as the folder of a study, which the report reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from bnkit.errors import StoreError
from bnkit.lab.store import (
    METRIC_SCHEMA,
    SETTINGS_FILE,
    MetricRow,
    StoredStudy,
    TrialRecord,
    TrialStore,
    read_settings,
    write_results,
    write_settings,
)

KEY = "recorded"  # the table that tells such a folder from one that `bnkit study run` wrote


@dataclass(frozen=True)
class Recording:
    """One training that a recorder watched.

    Attributes:
        name: of the study that it belongs to.
        arm, seed: which training of that study it is.
        rows: what was recorded.
        probes: the probes, as a study file states them.
        steps: optimizer steps seen.
        seconds: wall-clock time from beginning to end.
        notes: what a reader should know, one sentence each.
        versions, machine: what it ran with and on.
    """

    name: str
    arm: str
    seed: int
    rows: Sequence[MetricRow]
    probes: Sequence[Mapping[str, Any]]
    steps: int
    seconds: float
    notes: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The trial's id: one per study, arm and seed."""
        text = json.dumps([self.name, self.arm, self.seed])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def save_recording(folder: Path, recording: Recording) -> Path:
    """Write a recording into a folder beside those of other arms and seeds that lie there.

    A recording of the same arm and seed is replaced.

    Raises:
        StoreError: the folder holds another study, or cannot be written.
    """
    known = _settings_of(folder, recording)
    store = TrialStore(folder)
    store.prepare()
    record = _record(recording)
    store.remove(record.id)
    store.save(record, recording.rows)
    arms = list(dict.fromkeys([*known[KEY]["arms"], recording.arm]))
    seeds = sorted({*known[KEY]["seeds"], recording.seed})
    settings = {**known, KEY: {**known[KEY], "arms": arms, "seeds": seeds}}
    write_settings(folder, settings)
    records = sorted(
        (store.load(path.name) for path in store.trials.iterdir() if store.has(path.name)),
        key=lambda trial: (arms.index(trial.arm), trial.seed),
    )
    write_results(
        folder,
        settings=settings,
        trials=records,
        verdicts=(),
        summaries=(),
        notes=list(dict.fromkeys(note for trial in records for note in trial.notes)),
        command="",
    )
    return folder


def stored_study(recording: Recording) -> StoredStudy:
    """Return a recording as what a study's folder holds."""
    record = _record(recording)
    columns = {name: [getattr(row, name) for row in recording.rows] for name in METRIC_SCHEMA}
    metrics = pl.DataFrame(columns, schema=METRIC_SCHEMA)
    return StoredStudy(
        settings=_fresh_settings(recording),
        trials=[record],
        metrics=metrics.select(pl.lit(record.id).alias("trial"), *METRIC_SCHEMA),
        verdicts=[],
        summaries=[],
        notes=list(recording.notes),
        command="",
    )


def is_recorded(folder: Path) -> bool:
    """Return whether a recorder wrote the folder."""
    return (folder / SETTINGS_FILE).is_file() and KEY in read_settings(folder)


def _fresh_settings(recording: Recording) -> dict[str, Any]:
    return {
        "study": {"name": recording.name, "title": recording.name},
        KEY: {"arms": [], "seeds": [], "probes": [dict(table) for table in recording.probes]},
    }


def _settings_of(folder: Path, recording: Recording) -> dict[str, Any]:
    if not (folder / SETTINGS_FILE).is_file():
        return _fresh_settings(recording)
    known = read_settings(folder)
    name = known.get("study", {}).get("name")
    if KEY not in known or name != recording.name:
        raise StoreError(
            f"{folder} holds the study {name!r}",
            required=f"a folder of its own for what is recorded as {recording.name!r}",
            remedy="Give another out=",
        )
    return known


def _record(recording: Recording) -> TrialRecord:
    return TrialRecord(
        id=recording.id,
        arm=recording.arm,
        seed=recording.seed,
        grid={},
        spec={KEY: {"steps": recording.steps}},
        classes=0,
        versions=recording.versions,
        machine=recording.machine,
        notes=recording.notes,
        seconds=round(recording.seconds, 3),
    )
