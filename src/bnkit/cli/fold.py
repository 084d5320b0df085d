"""`bnkit fold`: batch norms folded into the conv and linear layers beside them."""

from __future__ import annotations

from enum import StrEnum
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
from bnkit.errors import ArgumentError

if TYPE_CHECKING:
    from bnkit.rewrite.result import Rewrite


class BorderChoice(StrEnum):
    """What becomes of a batch norm before a conv that pads with zeros."""

    REFUSE = "refuse"
    CORRECT = "correct"


def fold(
    target: TargetArgument,
    shape: ShapeOption = None,
    example: ExampleOption = None,
    weights: WeightsOption = None,
    out: OutOption = None,
    layers: LayersOption = None,
    border: Annotated[
        BorderChoice,
        typer.Option(
            "--border",
            help="A batch norm before a conv that pads with zeros: refuse, or correct its border.",
        ),
    ] = BorderChoice.REFUSE,
    format_: FormatOption = OutputFormat.TEXT,
    debug: DebugOption = False,
) -> None:
    """Fold batch norms into the conv or linear layers beside them, each pair proved on an example.

    The model is put into eval mode. Input and weights default to pyproject.toml, [tool.bnkit].
    """

    def make(model: Any, inputs: Any) -> Rewrite:
        from bnkit.rewrite.folding.folding import fold as fold_model

        if inputs is None:
            raise ArgumentError(
                "fold got no example",
                required="pairs are found by running the network once",
                remedy="Give --shape, such as 8x3x224x224, or --example file.py:make_batch; "
                "either may stand in pyproject.toml under [tool.bnkit]",
            )
        return fold_model(
            model.eval(), inputs, layers=layers or None, border=border.value, inplace=True
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
