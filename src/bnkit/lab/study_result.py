"""What a study found, for Python and for the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from bnkit.lab.store import REPORT_FILE, StoredStudy, Summary, TrialRecord, Verdict, read_study


@dataclass(frozen=True)
class StudyResult:
    """A study's results, as they lie in its folder.

    Printing it shows the table of arms and the verdicts.
    """

    folder: Path
    stored: StoredStudy

    @classmethod
    def read(cls, folder: Path) -> StudyResult:
        """Read the results of a study's folder.

        Raises:
            StoreError: the folder holds no results.
        """
        return cls(folder, read_study(folder))

    @property
    def verdicts(self) -> list[Verdict]:
        """One verdict per claim, in the order of the study file."""
        return self.stored.verdicts

    @property
    def summaries(self) -> list[Summary]:
        """Final metrics per arm and grid point with their 95 % intervals over seeds."""
        return self.stored.summaries

    @property
    def trials(self) -> list[TrialRecord]:
        """The trials the results were drawn from."""
        return self.stored.trials

    @property
    def metrics(self) -> pl.DataFrame:
        """Every recorded value: arm, seed, step, epoch, metric, layer, key, value, unit.

        Grid keys other than the seed are columns too.
        """
        trials = pl.DataFrame(
            [
                {"trial": t.id, "arm": t.arm, "seed": t.seed, **_plain(t.grid)}
                for t in self.stored.trials
            ]
        )
        return trials.join(self.stored.metrics, on="trial", how="inner", maintain_order="left")

    @property
    def report_path(self) -> Path:
        """Where the study's report lies."""
        return self.folder / REPORT_FILE

    def report(self, path: str | Path | None = None) -> Path:
        """Write the page and return its path; default `report.html` in the study's folder."""
        from bnkit.lab.report import write_report

        return write_report(self.stored, Path(path) if path else self.report_path)

    def __str__(self) -> str:
        from bnkit.lab.result_text import result_text

        return result_text(self.stored)


def _plain(grid: object) -> dict[str, object]:
    assert isinstance(grid, dict)
    return {
        key: str(value) if isinstance(value, list | dict) else value for key, value in grid.items()
    }
