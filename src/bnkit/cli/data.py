"""`bnkit data`: list, fetch, verify."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnkit._extras import require
from bnkit.cli.interruption import INTERRUPTED, ended_as_interrupted
from bnkit.cli.output_format import FormatOption, OutputFormat, print_json, print_text

if TYPE_CHECKING:
    from bnkit.lab.data.inventory import FileCheck, SetEntry

NOT_OFFICIAL = 1

data_app = typer.Typer(
    help="The data sets that studies name: where they lie, getting them, checking them.",
    no_args_is_help=True,
)

DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        help="Where data sets lie; default $BNKIT_DATA_DIR, else bnkit's cache folder.",
    ),
]


@data_app.command("list")
def list_data(data_dir: DataDirOption = None, format_: FormatOption = OutputFormat.TEXT) -> None:
    """Show the data sets and where their files lie; no file is opened."""
    require("lab")
    from bnkit.lab.data.data_folder import data_folder
    from bnkit.lab.data.inventory import inventory

    folder = data_folder(data_dir)
    entries = inventory(folder)
    if format_ is OutputFormat.JSON:
        print_json({"folder": str(folder), "sets": [entry.to_dict() for entry in entries]})
        return
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        print_text(f"{entry.name:<{width}}  {entry.what}\n{'':<{width}}  {_state_text(entry)}")
    there = "" if folder.is_dir() else " (does not exist yet)"
    print_text(
        f"\nThe data folder: {folder}{there}\n`bnkit data fetch NAME` downloads, "
        "`--data-dir DIR` looks elsewhere. Your own images: data.name = folder or arrays."
    )


@data_app.command("fetch")
def fetch_data(
    name: Annotated[str, typer.Argument(help="Name of a data set, as `bnkit data list` shows it.")],
    data_dir: DataDirOption = None,
    format_: FormatOption = OutputFormat.TEXT,
) -> None:
    """Download a data set, check it, and put it into the data folder."""
    require("lab")
    from bnkit.lab.data.data_folder import data_folder
    from bnkit.lab.data.fetch_progress import FetchLines
    from bnkit.lab.data.fetching import fetch

    try:
        with ended_as_interrupted():
            copy = fetch(name, data_folder(data_dir), FetchLines(sys.stderr))
    except KeyboardInterrupt:
        typer.echo("bnkit: interrupted; whole files are kept, run again to go on", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if format_ is OutputFormat.JSON:
        print_json({"name": name, "place": str(copy.place) if copy else None})
    elif copy is None:
        print_text(f"{name} comes with scikit-learn; there is nothing to download.")
    else:
        print_text(f"{name} lies in {copy.place}; `bnkit data verify {name}` checks it.")


@data_app.command("verify")
def verify_data(
    name: Annotated[str | None, typer.Argument(help="A data set; default all there are.")] = None,
    data_dir: DataDirOption = None,
    format_: FormatOption = OutputFormat.TEXT,
) -> None:
    """Read the files, and hold them against the official checksums.

    Exits with 1 if a file is damaged or its content is not the official one.
    """
    require("lab")
    from bnkit.lab.data.data_folder import data_folder
    from bnkit.lab.data.inventory import DAMAGED, DIFFERS, verify

    checks = verify(name, data_folder(data_dir))
    if format_ is OutputFormat.JSON:
        print_json([check.to_dict() for check in checks])
    else:
        print_text("\n".join(map(_check_text, checks)) or "No data set lies in the data folder.")
    if any(check.state in (DAMAGED, DIFFERS) for check in checks):
        raise typer.Exit(NOT_OFFICIAL)


def _state_text(entry: SetEntry) -> str:
    if entry.state == "embedded":
        return "comes with scikit-learn"
    if not entry.place:
        return f"absent ({entry.size})"
    missing = f", without {', '.join(entry.missing)}" if entry.missing else ""
    return f"{entry.place}{missing}"


def _check_text(check: FileCheck) -> str:
    return f"{check.name}: {check.state}: {check.file}" + (
        f"\n  {check.message}" if check.message else ""
    )
