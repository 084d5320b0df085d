"""The `bnkit` command: parse, call, print, exit code."""

from __future__ import annotations

import errno
import sys
from typing import Annotated

import typer

from bnkit import __version__
from bnkit.cli.adapt import adapt
from bnkit.cli.bench import bench
from bnkit.cli.check import check
from bnkit.cli.convert import convert
from bnkit.cli.data import data_app
from bnkit.cli.describe import describe
from bnkit.cli.explain import explain
from bnkit.cli.fold import fold
from bnkit.cli.freeze import freeze
from bnkit.cli.insert import insert
from bnkit.cli.prune import prune
from bnkit.cli.recalibrate import recalibrate
from bnkit.cli.remove import remove
from bnkit.cli.rule import rule
from bnkit.cli.study import study_app
from bnkit.cli.unfreeze import unfreeze
from bnkit.errors import BnkitError

USAGE_ERROR = 2

app = typer.Typer(
    name="bnkit",
    help="Batch normalization for PyTorch: made fast, checked before you trust it, shown to work.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("explain", short_help="One batch through batch norm, with every number.")(explain)
app.command("bench", short_help="This machine, side by side with torch, as ratios.")(bench)
app.command("check", short_help="Batch-norm mistakes in a model.")(check)
app.command("describe", short_help="Every normalization layer of a model.")(describe)
app.command("fold", short_help="Batch norms into the layers beside them, proved.")(fold)
app.command("prune", short_help="Remove channels; a smaller dense model is left.")(prune)
app.command("rule", short_help="What a rule of `check` finds, and why it matters.")(rule)
app.add_typer(data_app, name="data", short_help="The data sets that studies name.")
app.command("recalibrate", short_help="Running statistics that are those of the data.")(recalibrate)
app.command("adapt", short_help="Statistics of unlabelled data, blended in.")(adapt)
app.command("freeze", short_help="Weight, bias and statistics of a layer stand still.")(freeze)
app.command("unfreeze", short_help="Frozen layers as they were before.")(unfreeze)
app.command("convert", short_help="Batch norms become another kind of layer.")(convert)
app.command("remove", short_help="A network without its batch norms.")(remove)
app.command("insert", short_help="Batch norms after conv and linear layers.")(insert)
app.add_typer(study_app, name="study", short_help="Does batch norm help? Train and see.")


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"bnkit {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Batch normalization for PyTorch: made fast, checked before you trust it, shown to work."""


def main() -> None:
    """Run the command line; a user's mistake is one message and exit code 2, never a traceback."""
    try:
        app()
    except BnkitError as error:
        typer.echo(f"bnkit: {error}", err=True)
        sys.exit(USAGE_ERROR)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        typer.echo("bnkit: standard output cannot be written, no space is left", err=True)
        sys.exit(USAGE_ERROR)
