"""What is kept of a study that was run: a small file, without trials and without private paths."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from bnkit._files import write_atomically
from bnkit.errors import StoreError
from bnkit.lab.store import StoredStudy, Summary, Verdict, read_study
from bnkit.lab.store.study_store import RESULTS_FILE
from bnkit.lab.study_pages.private_text import public_command, without_paths

PROFILES = ("quick", "full")
# As many as tables show, and some to spare.
DIGITS = 6

_Row = TypeVar("_Row", Verdict, Summary)


@dataclass(frozen=True)
class KeptResult:
    """What was found when a study was last run in a profile.

    Attributes:
        study: its name in the catalogue.
        profile: "quick" or "full".
        command: what repeats the run.
        commit: of the source that trained, as git abbreviates it.
        date: when the run ended, as 2026-11-25.
        machines: what it ran on: processor, cores, system, accelerator.
        versions: package → version.
        trials: how many there were.
        seconds: wall-clock time of all trials, added up.
        settings: the resolved study file.
        notes: what a reader must know about data and arms.
        verdicts, summaries: what was found.
    """

    study: str
    profile: str
    command: str
    commit: str
    date: str
    machines: list[dict[str, Any]]
    versions: dict[str, str]
    trials: int
    seconds: float
    settings: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    summaries: list[Summary] = field(default_factory=list)

    @property
    def file_name(self) -> str:
        """What the file is called: `NAME-quick.json`."""
        return f"{self.study}-{self.profile}.json"


def keep(folder: Path, results: Path, commit: str) -> Path:
    """Write what a study's folder found into the folder of kept results; return the file's path.

    Args:
        folder: what `bnkit study run` wrote.
        results: where kept results lie, one file per study and profile.
        commit: of the source that trained its trials.

    Raises:
        StoreError: the folder holds no results, or not all of its trials have finished.
    """
    result = kept_result(read_study(folder), commit, _day(folder / RESULTS_FILE))
    results.mkdir(parents=True, exist_ok=True)
    path = results / result.file_name
    write_atomically(path, as_text(result))
    return path


def kept_result(study: StoredStudy, commit: str, date: str) -> KeptResult:
    """Return what is kept of a study.

    Raises:
        StoreError: not all of its trials have finished.
    """
    name = study.settings["study"]["name"]
    unfinished = [note for note in study.notes if note.startswith("Partial:")]
    if unfinished:
        raise StoreError(
            f"the study {name} has not finished: {unfinished[0].rstrip('.')}",
            required="results of all of its trials",
            remedy="Run it again with the same --out; it goes on where it stopped",
        )
    is_quick = "--quick" in study.command.split() or "quick=True" in study.command
    newest = study.trials[-1]
    return KeptResult(
        study=name,
        profile="quick" if is_quick else "full",
        command=public_command(study.command),
        commit=commit,
        date=date,
        machines=_distinct(_public_machine(trial.machine) for trial in study.trials),
        versions=dict(newest.versions),
        trials=len(study.trials),
        seconds=round(sum(trial.seconds for trial in study.trials), 1),
        settings=without_paths(dict(study.settings)),
        notes=without_paths(study.notes),
        verdicts=study.verdicts,
        summaries=study.summaries,
    )


def as_text(result: KeptResult) -> str:
    """Return a result as JSON: a line per verdict and summary, without fields at their default."""
    content = asdict(result)
    rows = {
        "verdicts": [_filled(verdict) for verdict in result.verdicts],
        "summaries": [_filled(summary) for summary in result.summaries],
    }
    head = {key: value for key, value in content.items() if key not in rows}
    lines = [f" {_line(key)}: {_line(value)}" for key, value in head.items()]
    for key, values in rows.items():
        listed = ",\n".join(f"  {_line(value)}" for value in values)
        lines.append(f" {_line(key)}: [\n{listed}\n ]" if values else f" {_line(key)}: []")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def read_kept(folder: Path) -> dict[str, dict[str, KeptResult]]:
    """Return study → profile → result, of all files in the folder.

    Raises:
        StoreError: a file is damaged, or is not called as its content says.
    """
    found: dict[str, dict[str, KeptResult]] = {}
    for path in sorted(folder.glob("*.json")):
        result = _read(path)
        if path.name != result.file_name or result.profile not in PROFILES:
            raise StoreError(
                f"{path} holds the result of {result.study} in profile {result.profile}",
                required=f"a file of the name {result.file_name}, and a profile quick or full",
                remedy="Rename or delete it",
            )
        found.setdefault(result.study, {})[result.profile] = result
    return found


def _read(path: Path) -> KeptResult:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content["verdicts"] = [_row(Verdict, row) for row in content["verdicts"]]
        content["summaries"] = [_row(Summary, row) for row in content["summaries"]]
        return KeptResult(**content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"cannot read {path} ({error})",
            required="a kept result, as `python -m bnkit.lab.study_pages --keep` writes it",
            remedy="Delete it, or keep the run's result again",
        ) from error


def _filled(row: Verdict | Summary) -> dict[str, Any]:
    """Return the fields that are not at their default, numbers rounded."""
    filled = {}
    for known in fields(row):
        value, make = getattr(row, known.name), known.default_factory
        default = known.default if make is MISSING else make()
        if value != default:
            filled[known.name] = _rounded(value)
    return filled


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, Mapping):
        return {key: _rounded(inner) for key, inner in value.items()}
    return without_paths(value)


def _row(kind: type[_Row], content: Mapping[str, Any]) -> _Row:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
    }
    return kind(**values)


def _public_machine(machine: Mapping[str, Any]) -> dict[str, Any]:
    """Return what others can compare with: not which build of a kernel it runs."""
    system = str(machine.get("system", "")).partition("-")[0]
    named = {**machine, "system": system}
    return {key: value for key, value in named.items() if value not in (None, "")}


def _distinct(machines: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({_line(machine): machine for machine in machines}.values())


def _day(file: Path) -> str:
    return datetime.fromtimestamp(file.stat().st_mtime, UTC).date().isoformat()


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
