"""`bnkit explain`: one batch through batch norm, step by step with every number."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bnkit.cli.output_format import FormatOption, OutputFormat, print_text
from bnkit.errors import ArgumentError

DEFAULT_PAGE = Path("explain.html")


def explain(
    page_file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]", help=f"With --html: where the page goes (default {DEFAULT_PAGE})."
        ),
    ] = None,
    input_file: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="FILE",
            help="JSON: a nested list of shape (N, C), (N, C, L) or (N, C, H, W), or an object "
            'with such a list as "x" and "weight", "bias", "eps", "momentum", "running_mean", '
            '"running_var" as wanted; - reads standard input. Without it, a small example.',
        ),
    ] = None,
    html: Annotated[
        bool,
        typer.Option("--html", help="Write a page that computes on numbers that its reader edits."),
    ] = False,
    output_format: FormatOption = OutputFormat.TEXT,
    eps: Annotated[
        float | None, typer.Option(help="Added to the variance (default 1e-5, or the file's).")
    ] = None,
    momentum: Annotated[
        float | None,
        typer.Option(help="Weight of this batch in the running statistics (default 0.1)."),
    ] = None,
) -> None:
    """One batch through batch normalization, step by step with every number."""
    _check_options(page_file, html, output_format)
    from bnkit.explain.batch import EXAMPLE_CHANNEL_NAMES, example_batch
    from bnkit.explain.batch_file import read_batch
    from bnkit.explain.page import render_html
    from bnkit.explain.render import render_json, render_text
    from bnkit.explain.worked_example import work_through
    from bnkit.page import write_page

    batch = example_batch() if input_file is None else read_batch(input_file)
    example = work_through(
        batch.x,
        batch.weight,
        batch.bias,
        eps=batch.eps if eps is None else eps,
        momentum=batch.momentum if momentum is None else momentum,
        running_mean=batch.running_mean,
        running_var=batch.running_var,
    )
    names = EXAMPLE_CHANNEL_NAMES if input_file is None else ()
    if html:
        path = write_page(render_html(example, names), page_file or DEFAULT_PAGE)
        typer.echo(f"{path}: open it in a browser; it needs no network", err=True)
    elif output_format is OutputFormat.JSON:
        typer.echo(render_json(example))
    else:
        print_text(render_text(example, names))


def _check_options(page_file: Path | None, html: bool, output_format: OutputFormat) -> None:
    if page_file is not None and not html:
        raise ArgumentError(
            f"got {page_file} as an argument",
            required="only --html takes one, the file of the page",
            remedy=f"Give --input {page_file} to read a batch, or --html {page_file} to write a "
            "page",
        )
    if html and output_format is OutputFormat.JSON:
        raise ArgumentError(
            "got --html and --format json",
            required="one or the other: --html writes a page, --format json prints the numbers",
            remedy="Call bnkit explain once for each",
        )
