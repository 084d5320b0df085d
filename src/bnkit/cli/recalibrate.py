"""`bnkit recalibrate`: running statistics that are those of the data."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bnkit.cli.model_options import ShapeOption
from bnkit.cli.rewrite_command import LayersOption, rewrite_command
from bnkit.cli.statistics_options import BatchSizeOption, DataOption, read_images


@rewrite_command
def recalibrate(
    model: Any,
    inputs: Any,
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
    shape: ShapeOption = None,
) -> Any:
    """Give batch norms the mean and variance of all that they receive from the data."""
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
