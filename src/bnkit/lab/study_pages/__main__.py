"""`python -m bnkit.lab.study_pages docs/studies` writes the pages; with --keep, of new runs too."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bnkit.errors import ArgumentError, BnkitError, StoreError
from bnkit.lab.store.study_store import read_settings
from bnkit.lab.study import study_names
from bnkit.lab.study_pages.kept_result import keep
from bnkit.lab.study_pages.page_files import RESULTS, write_pages


def main(arguments: list[str] | None = None) -> int:
    """Keep what was asked for, write every page, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bnkit.lab.study_pages", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the pages lie, and kept results in it")
    parser.add_argument(
        "--keep", type=Path, nargs="+", default=[], metavar="RUN", help="folders of studies run"
    )
    parser.add_argument("--commit", default="", help="of the source that trained them")
    options = parser.parse_args(arguments)
    try:
        if options.keep and not options.commit:
            raise ArgumentError(
                "--keep was given without --commit",
                required="the commit of the source that trained the runs, which their pages name",
                remedy="Give --commit $(git rev-parse --short HEAD)",
            )
        for run in options.keep:
            _refuse_unknown(run)
        for run in options.keep:
            keep(run, options.folder / RESULTS, options.commit)
        write_pages(options.folder)
    except BnkitError as error:
        sys.stderr.write(f"bnkit: {error}\n")
        return 1
    return 0


def _refuse_unknown(run: Path) -> None:
    name = read_settings(run).get("study", {}).get("name", "")
    if name not in study_names():
        raise StoreError(
            f"{run} holds a run of the study {name!r}",
            required="one of the catalogue, which have pages",
            remedy="`bnkit study list` shows them",
        )


if __name__ == "__main__":
    sys.exit(main())
