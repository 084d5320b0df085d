"""`bnkit insert`: batch norms after a network's conv and linear layers."""

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
from bnkit.cli.rewrite_command import OutOption, required, run_rewrite

if TYPE_CHECKING:
    from bnkit.rewrite.result import Rewrite


def insert(
    target: TargetArgument,
    shape: ShapeOption = None,
    example: ExampleOption = None,
    weights: WeightsOption = None,
    after: Annotated[
        list[str] | None,
        typer.Option(
            "--after", help="Conv and linear layers by path or pattern (default all but the last)."
        ),
    ] = None,
    where: Annotated[
        str, typer.Option("--where", help="before-activation or after-activation.")
    ] = "before-activation",
    kind: Annotated[str, typer.Option("--kind", help="Whose batch norms: bnkit or torch.")] = (
        "bnkit"
    ),
    drop_bias: Annotated[
        bool,
        typer.Option(
            "--drop-bias/--keep-bias", help="Drop the biases that batch norm makes redundant."
        ),
    ] = True,
    out: OutOption = None,
    format_: FormatOption = OutputFormat.TEXT,
    debug: DebugOption = False,
) -> None:
    """Insert batch norms after conv and linear layers; an input is needed, to see their shapes."""

    def make(model: Any, inputs: Any) -> Rewrite:
        from bnkit.rewrite.conversion.insertion import insert as insert_into

        return insert_into(
            model,
            required(inputs, "the shapes that layers return"),
            after=after,
            where=where,
            kind=kind,
            drop_bias=drop_bias,
            inplace=True,
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
