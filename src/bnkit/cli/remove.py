"""`bnkit remove`: a network without its batch norms."""

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


def remove(
    target: TargetArgument,
    shape: ShapeOption = None,
    example: ExampleOption = None,
    weights: WeightsOption = None,
    restore_bias: Annotated[
        bool,
        typer.Option(
            "--restore-bias/--no-restore-bias",
            help="Give layers that fed a batch norm without a bias one of zeros.",
        ),
    ] = True,
    fold_scale: Annotated[
        bool,
        typer.Option(
            "--fold-scale", help="Fold scale and shift into the layer directly before, where exact."
        ),
    ] = False,
    out: OutOption = None,
    format_: FormatOption = OutputFormat.TEXT,
    debug: DebugOption = False,
) -> None:
    """Replace every batch norm by the identity.

    An input is needed: one run shows which layers feed a batch norm, and lack a bias without it.
    """

    def make(model: Any, inputs: Any) -> Rewrite:
        from bnkit.rewrite.conversion.removal import remove as remove_from

        return remove_from(
            model,
            required(inputs, "which layers feed a batch norm"),
            restore_bias=restore_bias,
            fold_scale=fold_scale,
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
