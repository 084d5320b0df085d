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
    def summary_frame(self) -> pl.DataFrame:
        """The table of arms: one row per arm, grid point and metric, with interval and seeds."""
        return _frame([_columns(row.to_dict()) for row in self.stored.summaries])

    @property
    def verdict_frame(self) -> pl.DataFrame:
        """One row per claim: outcome, effect, interval, p values, seeds."""
        names = ["id", "text", "kind", "metric", "outcome", "reason", "effect", "effect_name"]
        names += ["low", "high", "p", "p_adjusted", "seeds", "winner", "at", "unit"]
        rows = [verdict.to_dict() for verdict in self.stored.verdicts]
        return _frame([{name: row[name] for name in names} for row in rows])

    @property
    def report_path(self) -> Path:
        """Where the study's report lies."""
        return self.folder / REPORT_FILE

    def report(self, path: str | Path | None = None) -> Path:
        """Write the page and return its path; default `report.html` in the study's folder.

        A notebook shows the path as the page.
        """
        from bnkit.lab.report import write_report
        from bnkit.lab.report.notebook import ReportFile

        return ReportFile(write_report(self.stored, Path(path) if path else self.report_path))

    def figures(self, folder: str | Path, format: str = "svg") -> list[Path]:
        """Write every figure of the report as an SVG or PNG file, and return their paths.

        Raises:
            StoreError: another format, or a folder that cannot be written.
        """
        from bnkit.lab.report import write_figures

        return write_figures(self.stored, Path(folder), format)

    def _repr_html_(self) -> str:
        from bnkit.lab.report.notebook import results_html

        return results_html(self.stored, self.report_path if self.report_path.is_file() else None)

    def __str__(self) -> str:
        from bnkit.lab.result_text import result_text

        return result_text(self.stored)


def _columns(row: dict[str, object]) -> dict[str, object]:
    """Return a summary with its grid keys as columns beside its arm."""
    grid = _plain(row.pop("grid"))
    return {"arm": row.pop("arm"), **grid, **row}


def _frame(rows: list[dict[str, object]]) -> pl.DataFrame:
    return pl.DataFrame(rows, infer_schema_length=None)


def _plain(grid: object) -> dict[str, object]:
    assert isinstance(grid, dict)
    return {
        key: str(value) if isinstance(value, list | dict) else value for key, value in grid.items()
    }
