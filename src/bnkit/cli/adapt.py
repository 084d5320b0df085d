"""`bnkit adapt`: statistics of unlabelled target data, blended into those of the model."""

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


def adapt(
    target: TargetArgument,
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
    weights: WeightsOption = None,
    shape: ShapeOption = None,
    example: ExampleOption = None,
    out: OutOption = None,
    format_: FormatOption = OutputFormat.TEXT,
    debug: DebugOption = False,
) -> None:
    """Blend the statistics of unlabelled target data into those of a model."""

    def make(model: Any, _: Any) -> Rewrite:
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
