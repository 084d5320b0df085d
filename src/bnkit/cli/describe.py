"""`bnkit describe`: every normalization layer of a model, with totals."""

from __future__ import annotations

import contextlib
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

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
from bnkit.cli.output_format import print_json, print_page, print_text


class DescribeFormat(StrEnum):
    """How `describe` prints its table."""

    TEXT = "text"
    JSON = "json"
    HTML = "html"


def describe(
    target: TargetArgument,
    shape: ShapeOption = None,
    example: ExampleOption = None,
    weights: WeightsOption = None,
    format_: Annotated[
        DescribeFormat,
        typer.Option("--format", help="How to print: text, json for programs, html for a page."),
    ] = DescribeFormat.TEXT,
    debug: DebugOption = False,
) -> None:
    """Show every normalization layer: C, its 4C + 2 parameters, modes, m, share, output bytes.

    The input's shape and the weights default to those of pyproject.toml, [tool.bnkit].
    """
    with explained(debug), contextlib.redirect_stdout(sys.stderr):
        from bnkit.checker.settings import read_settings
        from bnkit.inspection.description import describe as describe_model

        settings = read_settings(Path.cwd())
        model = read_model(target, weights or settings.path("weights"))
        inputs = read_example(model, shape, example, settings)
        found = describe_model(model, inputs, target=target)
    if format_ is DescribeFormat.JSON:
        print_json(found.to_dict())
    elif format_ is DescribeFormat.HTML:
        print_page(found.to_html())
    else:
        print_text(found.to_text())
