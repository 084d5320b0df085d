"""Trials on disk: each exists whole or not at all."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from bnkit._files import cannot_write, write_atomically
from bnkit.errors import StoreError
from bnkit.lab.store.schema import MetricRow, TrialRecord
from bnkit.lab.store.trial_json import trial_record

METRIC_SCHEMA: dict[str, Any] = {
    "step": pl.Int64,
    "epoch": pl.Int32,
    "metric": pl.String,
    "layer": pl.String,
    "key": pl.String,
    "value": pl.Float64,
    "unit": pl.String,
}
UNFINISHED_PREFIX = ".unfinished-"


class TrialStore:
    """The `trials` folder of a study's folder.

    A trial is written to a temporary folder beside its place and renamed when it is complete, so a
    process killed at any moment leaves whole trials and temporary folders, never half a trial.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.trials = root / "trials"

    def prepare(self) -> None:
        """Make the folder and show that it can be written; remove what killed runs left.

        Raises:
            StoreError: the folder cannot be made or written.
        """
        try:
            self.trials.mkdir(parents=True, exist_ok=True)
            attempt = self.trials / f".writable-{os.getpid()}"
            attempt.touch()
            attempt.unlink()
        except OSError as error:
            raise cannot_write(self.root, error) from error
        for folder in self.trials.glob(f"{UNFINISHED_PREFIX}*-{_host_name()}-*"):
            process_id = folder.name.rsplit("-", 1)[-1]
            if process_id.isdecimal() and not _process_is_alive(int(process_id)):
                shutil.rmtree(folder, ignore_errors=True)

    def has(self, trial_id: str) -> bool:
        """Return whether the trial is stored."""
        return (self.trials / trial_id / "trial.json").is_file()

    def unfinished_folder(self, trial_id: str) -> Path:
        """Make and return the temporary folder of a trial that this process trains."""
        name = f"{UNFINISHED_PREFIX}{trial_id}-{_host_name()}-{os.getpid()}"
        folder = self.trials / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def save(self, record: TrialRecord, rows: Sequence[MetricRow]) -> None:
        """Store a trial: all of it appears at once, or nothing does.

        If another process stored the same trial meanwhile, the first one is kept: the id determines
        the results.

        Raises:
            StoreError: the disk is full or the folder cannot be written; nothing is left of it.
        """
        try:
            self._save(record, rows)
        except StoreError:
            raise
        except (OSError, pl.exceptions.PolarsError) as error:
            raise cannot_write(self.trials / record.id, error) from error

    def _save(self, record: TrialRecord, rows: Sequence[MetricRow]) -> None:
        folder = self.unfinished_folder(record.id)
        try:
            columns = {name: [getattr(row, name) for row in rows] for name in METRIC_SCHEMA}
            pl.DataFrame(columns, schema=METRIC_SCHEMA).write_parquet(folder / "metrics.parquet")
            text = json.dumps(record.to_dict(), indent=1, sort_keys=True)
            write_atomically(folder / "trial.json", text)
            place = self.trials / record.id
            if place.exists() and not self.has(record.id):
                shutil.rmtree(place)
            try:
                folder.rename(place)
            except OSError:
                # Another process was first, and its trial is kept.
                if not self.has(record.id):
                    raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def remove(self, trial_id: str) -> None:
        """Remove a trial, if it is stored."""
        shutil.rmtree(self.trials / trial_id, ignore_errors=True)

    def load(self, trial_id: str) -> TrialRecord:
        """Return the record of a stored trial.

        Raises:
            StoreError: the trial is not there, is damaged, or has another version's format.
        """
        path = self.trials / trial_id / "trial.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise _damaged(path, error) from error
        return trial_record(content, trial_id, str(path))

    def ids(self) -> list[str]:
        """Return the names of the whole trials that are stored, sorted."""
        return sorted(name for name in self._folders() if self._is_whole(name))

    def halves(self) -> list[str]:
        """Return the names of folders beside them that hold no whole trial, sorted."""
        return sorted(name for name in self._folders() if not self._is_whole(name))

    def _is_whole(self, name: str) -> bool:
        has_metrics = (self.trials / name / "metrics.parquet").is_file()
        return not name.startswith(".") and self.has(name) and has_metrics

    def _folders(self) -> list[str]:
        try:
            return [folder.name for folder in self.trials.iterdir() if folder.is_dir()]
        except OSError:
            return []

    def metrics(self, trial_ids: Iterable[str]) -> pl.DataFrame:
        """Return the metrics of stored trials, long form, with the id in the column `trial`."""
        frames = []
        for trial_id in trial_ids:
            path = self.trials / trial_id / "metrics.parquet"
            try:
                frame = pl.read_parquet(path)
            except (OSError, pl.exceptions.PolarsError) as error:
                raise _damaged(path, error) from error
            frames.append(_typed(frame, trial_id, path))
        if not frames:
            return pl.DataFrame(schema={"trial": pl.String, **METRIC_SCHEMA})
        return pl.concat(frames)


def _typed(frame: pl.DataFrame, trial_id: str, path: Path) -> pl.DataFrame:
    """Return the schema's columns in its types; layer, key and unit may be absent."""
    optional = [name for name in ("layer", "key", "unit") if name not in frame.columns]
    try:
        return frame.with_columns(pl.lit(None).alias(name) for name in optional).select(
            pl.lit(trial_id).alias("trial"),
            *(pl.col(name).cast(kind) for name, kind in METRIC_SCHEMA.items()),
        )
    except pl.exceptions.PolarsError as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> StoreError:
    return StoreError(
        f"cannot read {path} ({error})",
        required="a stored trial holds trial.json and metrics.parquet",
        remedy=f"Delete the folder {path.parent} and run the study again",
    )


def _host_name() -> str:
    # A process number means something on its own machine only, and folders may be shared.
    return "".join(c for c in platform.node() if c.isalnum()) or "host"


def _process_is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
