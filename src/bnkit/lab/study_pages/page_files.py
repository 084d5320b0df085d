"""All pages as files: what docs/studies holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bnkit._files import write_atomically
from bnkit.errors import StoreError
from bnkit.lab.study import study_names
from bnkit.lab.study_pages.index_page import index_page
from bnkit.lab.study_pages.kept_result import read_kept
from bnkit.lab.study_pages.study_page import study_page

INDEX = "README.md"
RESULTS = "results"
NOTE = (
    "<!-- Written by `make fix` from the study's file and docs/studies/results; "
    "change these and not this page. -->\n\n"
)


def pages(folder: Path) -> Mapping[str, str]:
    """Return file name → content, of every study's page and of the index.

    Args:
        folder: whose `results` hold what was found.

    Raises:
        StoreError: a kept result is damaged, or of a study that the catalogue lacks.
    """
    names = study_names()
    kept = read_kept(folder / RESULTS)
    for name in kept.keys() - set(names):
        raise StoreError(
            f"{folder / RESULTS} holds results of a study {name!r}, which the catalogue lacks",
            required=f"results of {', '.join(names)}",
            remedy=f"Delete {name}-quick.json and {name}-full.json",
        )
    found = {f"{name}.md": NOTE + study_page(name, kept.get(name, {})) for name in names}
    return {INDEX: NOTE + index_page(names, kept)} | found


def write_pages(folder: Path) -> None:
    """Write every page into a folder, and remove pages of studies that are gone."""
    current = pages(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.md"):
        if stale.name not in current:
            stale.unlink()
    for name, content in current.items():
        write_atomically(folder / name, content)
