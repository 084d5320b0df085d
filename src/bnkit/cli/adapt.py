"""`bnkit adapt`: statistics of unlabelled target data, blended into those of the model."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bnkit.cli.model_options import ShapeOption
from bnkit.cli.rewrite_command import LayersOption, rewrite_command
from bnkit.cli.statistics_options import BatchSizeOption, DataOption, read_images


@rewrite_command
def adapt(
    model: Any,
    inputs: Any,
    data: DataOption,
    weight: Annotated[
        float | None,
        typer.Option("--weight", help="Of the target's statistics: 0 none of them, 1 them alone."),
    ] = None,
    prior: Annotated[
        float | None,
        typer.Option("--prior", help="Instead: how many samples the source counts as."),
    ] = None,
    batch_size: BatchSizeOption = 64,
    layers: LayersOption = None,
    shape: ShapeOption = None,
) -> Any:
    """Blend the statistics of unlabelled target data into those of a model."""
    from bnkit.rewrite.statistics.adaptation import adapt as adapt_model

    images, notes = read_images(data, shape)
    rewrite = adapt_model(
        model,
        images,
        weight=weight,
        prior=prior,
        layers=layers,
        batch_size=batch_size,
        inplace=True,
    )
    rewrite.notes += notes
    return rewrite
