"""`bnkit check`: batch-norm mistakes in a model."""

from __future__ import annotations

import contextlib
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnkit.cli.model_options import (
    DebugOption,
    ExampleOption,
    ShapeOption,
    TargetArgument,
    WeightsOption,
    explained,
    read_example,
    read_model,
)
from bnkit.cli.output_format import print_page, print_text
from bnkit.errors import CheckError

if TYPE_CHECKING:
    from bnkit.checker.report import Report
    from bnkit.checker.settings import Settings


class CheckFormat(StrEnum):
    """How `check` prints its report."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    HTML = "html"


def check(
    target: TargetArgument,
    shape: ShapeOption = None,
    example: ExampleOption = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="Samples of a training batch.")
    ] = None,
    weights: WeightsOption = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Real data: an image folder or an .npz file.")
    ] = None,
    select: Annotated[
        list[str] | None, typer.Option("--select", help="Rules to run: BN4, BN101,BN103 …")
    ] = None,
    ignore: Annotated[list[str] | None, typer.Option("--ignore", help="Rules not to run.")] = None,
    format_: Annotated[
        CheckFormat | None, typer.Option("--format", help="How to print (default text).")
    ] = None,
    debug: DebugOption = False,
) -> None:
    """Look for batch-norm mistakes in a model; defaults stand in pyproject.toml, [tool.bnkit].

    Exits with 1 if an error or a warning is found.
    """
    with explained(debug), contextlib.redirect_stdout(sys.stderr):
        from bnkit.checker.settings import read_settings
        from bnkit.rules.registry import select_rules

        settings = read_settings(Path.cwd())
        chosen = _split(select) or settings.get("select")
        dropped = _split(ignore) or settings.get("ignore", [])
        select_rules(chosen, dropped)  # a wrong code is told before anything slow
        wanted = _format(format_, settings)
        model = read_model(target, weights or settings.path("weights"))
        report = _run(
            model,
            settings,
            example_args=read_example(model, shape, example, settings),
            data=_data(data, shape, settings),
            batch_size=batch_size or settings.get("batch-size"),
            weights_loaded=bool(weights or settings.get("weights")),
            select=chosen,
            ignore=dropped,
            target=target,
        )
    _print(report, wanted)
    raise typer.Exit(report.exit_code)


def _split(words: list[str] | None) -> list[str] | None:
    if words is None:
        return None
    return [part.strip() for word in words for part in word.split(",") if part.strip()]


def _format(given: CheckFormat | None, settings: Settings) -> CheckFormat:
    name = settings.get("format", CheckFormat.TEXT)
    if given is not None:
        return given
    if name not in list(CheckFormat):
        raise CheckError(f"format = {name!r}", required=f"one of {', '.join(CheckFormat)}")
    return CheckFormat(name)


def _data(given: Path | None, shape: list[str] | None, settings: Settings) -> Any:
    from bnkit.cli.check_data import read_data

    stored = settings.get("data")
    options = stored if isinstance(stored, dict) else {}
    path = given
    if path is None and stored is not None:
        name = options.get("path") if options else stored
        if not isinstance(name, str):
            raise CheckError("[tool.bnkit.data] has no path", required="a folder or .npz file")
        path = settings.folder / Path(name).expanduser()
    if path is None:
        return None
    return read_data(path, {key: options[key] for key in options if key != "path"}, shape)


def _run(model: Any, settings: Settings, **given: Any) -> Report:
    from bnkit.checker.checking import check as check_model

    return check_model(
        model,
        thresholds=settings.get("thresholds"),
        silence=settings.get("silence", ()),
        **given,
    )


def _print(report: Report, wanted: CheckFormat) -> None:
    if wanted is CheckFormat.JSON:
        typer.echo(report.to_json())
    elif wanted is CheckFormat.SARIF:
        typer.echo(report.to_sarif())
    elif wanted is CheckFormat.HTML:
        print_page(report.to_html())
    else:
        print_text(report.to_text())
