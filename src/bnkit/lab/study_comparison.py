"""Several studies' results on one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bnkit.lab.report.comparison import labels, write_comparison
from bnkit.lab.study_result import StudyResult

COMPARISON_FILE = "comparison.html"


def compare(results: Sequence[StudyResult], path: str | Path | None = None) -> Path:
    """Write the page that compares studies and return its path.

    Args:
        results: at least one; the curves of all are drawn in the same figures.
        path: default `comparison.html` in the folder of the first.

    Raises:
        StoreError: the file cannot be written.
    """
    studies = {
        label: result.stored for label, result in zip(labels_of(results), results, strict=True)
    }
    return write_comparison(studies, Path(path or results[0].folder / COMPARISON_FILE))


def labels_of(results: Sequence[StudyResult]) -> list[str]:
    """Return what each study is called: its name, with its folder where names are the same."""
    return labels([result.folder for result in results], [result.stored for result in results])
