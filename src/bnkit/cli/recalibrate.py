"""`bnkit recalibrate`: running statistics that are those of the data."""

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
from bnkit.cli.statistics_options import BatchSizeOption, DataOption, read_images

if TYPE_CHECKING:
    from bnkit.rewrite.result import Rewrite


def recalibrate(
    target: TargetArgument,
    data: DataOption,
    batch_size: BatchSizeOption = 64,
    sequential: Annotated[
        bool,
        typer.Option(
            "--sequential",
            help="Layer by layer, those before in eval mode; one pass for each, up to it.",
        ),
    ] = False,
    layers: LayersOption = None,
    weights: WeightsOption = None,
    shape: ShapeOption = None,
    example: ExampleOption = None,
    out: OutOption = None,
    format_: FormatOption = OutputFormat.TEXT,
    debug: DebugOption = False,
) -> None:
    """Give batch norms the mean and variance of all that they receive from the data."""

    def make(model: Any, _: Any) -> Rewrite:
        from bnkit.rewrite.statistics.recalibration import recalibrate as recalibrate_model

        images, notes = read_images(data, shape)
        rewrite = recalibrate_model(
            model,
            images,
            layers=layers,
            sequential=sequential,
            batch_size=batch_size,
            inplace=True,
            # What a pass for each layer costs is told before it is made, in a file of output too.
            progress=True if sequential else None,
        )
        rewrite.notes += notes
        return rewrite

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
