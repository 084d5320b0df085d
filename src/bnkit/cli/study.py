"""`bnkit study`: list, show, probes, run, report."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnkit.cli.data import DataDirOption
from bnkit.cli.interruption import INTERRUPTED, ended_as_interrupted
from bnkit.cli.output_format import (
    FormatOption,
    OutputFormat,
    can_print,
    print_json,
    print_text,
)
from bnkit.errors import StudyError

if TYPE_CHECKING:
    from bnkit.lab import StudyResult

REFUTED = 1


class ReportFormat(StrEnum):
    """What `study report` prints, or what its figures are."""

    TEXT = "text"
    JSON = "json"
    SVG = "svg"
    PNG = "png"


study_app = typer.Typer(
    help="Train with and without batch norm, and say with evidence whether it helped.",
    no_args_is_help=True,
)


@study_app.command("list")
def list_studies(format_: FormatOption = OutputFormat.TEXT) -> None:
    """Show the studies that come with bnkit."""
    from bnkit.lab.study import find_study, study_names

    rows = []
    for name in study_names():
        table = find_study(name).content["study"]
        rows.append({key: table.get(key, "") for key in ("name", "title", "question", "source")})
    if format_ is OutputFormat.JSON:
        print_json(rows)
        return
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        typer.echo(f"{row['name']:<{width}}  {row['title']}")
    typer.echo("\n`bnkit study show NAME` shows a study, `bnkit study run NAME` runs it.")


@study_app.command("probes")
def list_probes(format_: FormatOption = OutputFormat.TEXT) -> None:
    """Show what a training can be asked beside its losses: the kinds of [[probes]]."""
    from bnkit.lab.probes.listing import listed_probes, probe_lines

    if format_ is OutputFormat.JSON:
        print_json(listed_probes())
        return
    for line in probe_lines():
        typer.echo(line)


@study_app.command("show")
def show_study(
    name: Annotated[str, typer.Argument(help="Name of a study, or path of a study file.")],
    quick: Annotated[bool, typer.Option("--quick", help="Show the quick profile.")] = False,
    format_: FormatOption = OutputFormat.TEXT,
) -> None:
    """Show a study file and how many trials it takes."""
    from bnkit.lab.study import find_study, plan, resolve

    source = find_study(name)
    settings = resolve(source, quick=quick)
    trials = plan(settings)
    if format_ is OutputFormat.JSON:
        print_json({**settings.to_dict(), "trials": len(trials)})
        return
    if quick:
        import tomli_w

        typer.echo(tomli_w.dumps(settings.to_dict()).rstrip())
    else:
        typer.echo(source.text.rstrip())
    arms, seeds = len(settings.arms), len(settings.seeds)
    points = len(trials) // (arms * seeds)
    at = f" × {points} grid points" if points > 1 else ""
    typer.echo(f"\n# {len(trials)} trials: {arms} arms{at} × {seeds} seeds")


@study_app.command("run")
def run_study(
    study: Annotated[str, typer.Argument(help="Name of a study, or path of a study file.")],
    quick: Annotated[bool, typer.Option("--quick", help="Use the study's quick profile.")] = False,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, help="Train seeds 0 … N−1.", metavar="N")
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="Where to train: cpu, cuda, cuda:1 …")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The study's folder; default runs/<study>.")
    ] = None,
    data_dir: DataDirOption = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override a setting in all arms, such as training.epochs=5; may be repeated.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Processes; default the cores over threads."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if a claim is refuted.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print no progress.")] = False,
    format_: FormatOption = OutputFormat.TEXT,
) -> None:
    """Train what is missing, judge the claims, write the page.

    A run that was interrupted goes on where it stopped; a finished one trains nothing.
    """
    from bnkit.lab import run

    overrides = dict(_parse_override(text) for text in set_ or [])
    try:
        result = _interruptible(run)(
            study,
            quick=quick,
            seeds=seeds,
            device=device,
            out=out,
            data_dir=data_dir,
            overrides=overrides,
            workers=workers,
            progress=not quiet and format_ is not OutputFormat.JSON,
            command=shlex.join(["bnkit", *sys.argv[1:]]),
        )
    except KeyboardInterrupt:
        typer.echo("bnkit: interrupted; finished trials are kept, run again to go on", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if format_ is OutputFormat.JSON:
        print_json(_as_data(result))
    else:
        _print_result(result)
    if strict and any(verdict.outcome == "refuted" for verdict in result.verdicts):
        raise typer.Exit(REFUTED)


@study_app.command("report")
def report_study(
    folders: Annotated[
        list[Path], typer.Argument(help="Folders of studies that were run.", metavar="DIR…")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Where the page goes: of one study, or the comparison of several."
        ),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option("--figures", help="Also write every figure into this folder, as a file."),
    ] = None,
    format_: Annotated[
        ReportFormat,
        typer.Option("--format", help="What is printed: text or json; what --figures writes."),
    ] = ReportFormat.TEXT,
) -> None:
    """Judge stored trials again and write the page anew; nothing is trained.

    Several folders are also compared on one page, by default comparison.html in the first.
    """
    from bnkit.lab import judge_again
    from bnkit.lab.study_comparison import compare

    if format_ in (ReportFormat.SVG, ReportFormat.PNG) and figures is None:
        raise StudyError(
            f"--format {format_.value} without --figures",
            required="svg and png are formats of the figures",
            remedy="Name a folder with --figures",
        )
    results = [judge_again(folder) for folder in folders]
    if out is not None and len(results) == 1:
        results[0].report(out)
    page = compare(results, out) if len(results) > 1 else None
    written = _write_figures(results, figures, format_)
    if format_ is ReportFormat.JSON:
        contents = [_as_data(result) for result in results]
        print_json(contents if len(contents) > 1 else contents[0])
        return
    for result in results:
        _print_result(result, out if len(results) == 1 else None)
    if page is not None:
        typer.echo(f"The comparison: {page}")
    if figures is not None:
        typer.echo(f"{written} figures in {figures}")


def _write_figures(results: list[StudyResult], folder: Path | None, format_: ReportFormat) -> int:
    """Write the figures, of each of several studies into a folder of its own; return how many."""
    if folder is None:
        return 0
    from bnkit.lab.report.figures.source import file_name
    from bnkit.lab.study_comparison import labels_of

    kind = "png" if format_ is ReportFormat.PNG else "svg"
    names = labels_of(results)
    return sum(
        len(result.figures(folder if len(results) == 1 else folder / file_name(name), kind))
        for result, name in zip(results, names, strict=True)
    )


def _as_data(result: StudyResult) -> dict[str, Any]:
    return {
        "study": result.stored.settings["study"]["name"],
        "folder": str(result.folder),
        "report": str(result.report_path),
        "trials": len(result.trials),
        "arms": [summary.to_dict() for summary in result.summaries],
        "verdicts": [verdict.to_dict() for verdict in result.verdicts],
        "notes": result.stored.notes,
    }


def _print_result(result: StudyResult, report: Path | None = None) -> None:
    from rich.console import Console

    from bnkit.lab.result_text import print_results, result_text

    text = result_text(result.stored)
    if sys.stdout.isatty() and can_print(text):
        print_results(result.stored, Console(highlight=False))
    else:
        print_text(text)
    typer.echo(f"\nThe report: {report or result.report_path}")


def _interruptible(run: Callable[..., StudyResult]) -> Callable[..., StudyResult]:
    """Make a run that is told to end stop as on Ctrl-C, and keep standard output to the results.

    What a user's network prints goes to standard error.
    """

    def running(*args: Any, **kwargs: Any) -> StudyResult:
        with ended_as_interrupted(), contextlib.redirect_stdout(sys.stderr):
            return run(*args, **kwargs)

    return running


def _parse_override(text: str) -> tuple[str, Any]:
    import tomllib

    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise StudyError(f"--set {text!r}", required="KEY=VALUE, such as training.epochs=5")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        # A bare word is a string: --set network.name=dense.
        return key.strip(), value.strip()
