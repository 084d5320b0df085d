"""`bnkit convert`: batch norms become another kind of layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnkit.cli.model_options import (
    DebugOption,
    ExampleOption,
    ShapeOption,
    TargetArgument,
    WeightsOption,
)
from bnkit.cli.output_format import FormatOption, OutputFormat
from bnkit.cli.rewrite_command import LayersOption, OutOption, run_rewrite

if TYPE_CHECKING:
    from bnkit.rewrite.result import Rewrite


def convert(
    target: TargetArgument,
    to: Annotated[
        str,
        typer.Option("--to", help="The kind: bnkit, torch, group, layer, instance or frozen."),
    ],
    layers: LayersOption = None,
    groups: Annotated[
        int, typer.Option("--groups", help="For --to group: how many groups at most.")
    ] = 32,
    shape: ShapeOption = None,
    example: ExampleOption = None,
    weights: WeightsOption = None,
    out: OutOption = None,
    format_: FormatOption = OutputFormat.TEXT,
    debug: DebugOption = False,
) -> None:
    """Turn batch norms into another kind of layer, with their weight, bias, eps and modes.

    With an input the whole network is compared before and after: to bnkit, torch and frozen it has
    to give the same; to the others the difference is told.
    """

    def make(model: Any, inputs: Any) -> Rewrite:
        from bnkit.rewrite.conversion.conversion import convert as convert_model

        return convert_model(
            model, to, layers=layers, example_args=inputs, inplace=True, groups=groups
        )

    run_rewrite(
        make,
        target=target,
        shape=shape,
        example=example,
        weights=weights,
        out=out,
        format_=format_,
        debug=debug,
    )
