"""`bnkit explain`: one batch through batch norm, step by step with every number."""

from __future__ import annotations

from typing import Annotated

import typer

from bnkit.cli.output_format import FormatOption, OutputFormat, print_text


def explain(
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
    from bnkit.explain.batch import EXAMPLE_CHANNEL_NAMES, example_batch
    from bnkit.explain.batch_file import read_batch
    from bnkit.explain.render import render_json, render_text
    from bnkit.explain.worked_example import work_through

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
    if output_format is OutputFormat.JSON:
        typer.echo(render_json(example))
        return
    text = render_text(example, EXAMPLE_CHANNEL_NAMES if input_file is None else ())
    print_text(text)
