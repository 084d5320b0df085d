"""The folder of a study: its settings, its results, and the trials they were drawn from."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
import tomli_w

from bnkit._files import write_atomically
from bnkit.errors import StoreError
from bnkit.lab.store.schema import STORE_VERSION, Summary, TrialRecord, Verdict
from bnkit.lab.store.trial_store import TrialStore

SETTINGS_FILE = "study.toml"
RESULTS_FILE = "results.json"
REPORT_FILE = "report.html"

_Row = TypeVar("_Row", Verdict, Summary)


@dataclass(frozen=True)
class StoredStudy:
    """A study as it lies on disk.

    Attributes:
        settings: the resolved study file.
        trials: the trials the results were drawn from, in the order of arms, grid and seeds.
        metrics: their metrics, long form, with the trial's id in the column `trial`.
        verdicts, summaries: what was found.
        notes: what a reader should know about the data and the arms, one sentence each.
        command: the command that repeats the run.
    """

    settings: Mapping[str, Any]
    trials: list[TrialRecord]
    metrics: pl.DataFrame
    verdicts: list[Verdict]
    summaries: list[Summary]
    notes: list[str]
    command: str


def read_settings(folder: Path) -> dict[str, Any]:
    """Return the resolved study file of a study's folder.

    Raises:
        StoreError: the folder holds no study, or its file cannot be read.
    """
    path = folder / SETTINGS_FILE
    if not path.is_file():
        if (folder / "trials").is_dir():
            raise StoreError(
                f"{folder} holds trials, but no {SETTINGS_FILE}",
                required="the study file, which names the study, its arms and its claims",
                remedy=f"Put it into {folder}; `bnkit study show NAME` shows what one looks like",
            )
        raise StoreError(
            f"{folder} holds no study",
            required=f"a folder that `bnkit study run` wrote, with {SETTINGS_FILE} in it",
            remedy="Run a study with --out first, or name its folder",
        )
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {path} ({error})") from error


def write_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write the resolved study file."""
    write_atomically(folder / SETTINGS_FILE, tomli_w.dumps(settings))


def write_results(
    folder: Path,
    *,
    settings: Mapping[str, Any],
    trials: Sequence[TrialRecord],
    verdicts: Sequence[Verdict],
    summaries: Sequence[Summary],
    notes: Sequence[str],
    command: str,
) -> None:
    """Write what was found, beside the trials it was drawn from."""
    content = {
        "store_version": STORE_VERSION,
        "settings": settings,
        "command": command,
        "notes": list(notes),
        # A trial's place in the grid is the study's business: another study may share the trial.
        "trials": [{"id": trial.id, "grid": trial.grid} for trial in trials],
        "verdicts": [verdict.to_dict() for verdict in verdicts],
        "summaries": [summary.to_dict() for summary in summaries],
    }
    # Not sorted: the order of arms is the study file's.
    text = json.dumps(content, indent=1, ensure_ascii=False)
    write_atomically(folder / RESULTS_FILE, text)


def read_results(folder: Path) -> dict[str, Any]:
    """Return the content of the results file as plain data; empty if there is none yet.

    Raises:
        StoreError: the file is damaged.
    """
    path = folder / RESULTS_FILE
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged_results(path, error) from error
    if not isinstance(content, dict):
        raise _damaged_results(path, TypeError("not an object"))
    return content


def read_study(folder: Path) -> StoredStudy:
    """Return everything that a study's folder holds.

    Raises:
        StoreError: the folder holds no study, no results yet, or damaged files.
    """
    read_settings(folder)
    content = read_results(folder)
    if not content:
        raise StoreError(
            f"{folder} holds no results yet",
            required="at least one finished run",
            remedy=f"Run `bnkit study run {folder / SETTINGS_FILE} --out {folder}`",
        )
    try:
        verdicts = [_row(Verdict, row) for row in content["verdicts"]]
        summaries = [_row(Summary, row) for row in content["summaries"]]
        grids = {row["id"]: row["grid"] for row in content["trials"]}
        settings = content["settings"]
    except (KeyError, TypeError) as error:
        raise _damaged_results(folder / RESULTS_FILE, error) from error
    store = TrialStore(folder)
    return StoredStudy(
        settings=settings,
        trials=[replace(store.load(key), grid=grid) for key, grid in grids.items()],
        metrics=store.metrics(grids),
        verdicts=verdicts,
        summaries=summaries,
        notes=content.get("notes", []),
        command=content.get("command", ""),
    )


def _damaged_results(path: Path, error: Exception) -> StoreError:
    return StoreError(
        f"cannot read {path} ({error})",
        remedy="Delete it and run `bnkit study report` on its folder",
    )


def _row(kind: type[_Row], content: Mapping[str, Any]) -> _Row:
    known = {field.name for field in fields(kind)}
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in content.items()
        if name in known
    }
    return kind(**values)
