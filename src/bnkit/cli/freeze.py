"""`bnkit freeze`: freeze normalization layers: weight, bias and running statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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


def freeze(
    target: TargetArgument,
    layers: LayersOption = None,
    weights: WeightsOption = None,
    shape: ShapeOption = None,
    example: ExampleOption = None,
    out: OutOption = None,
    format_: FormatOption = OutputFormat.TEXT,
    debug: DebugOption = False,
) -> None:
    """Freeze normalization layers, also against model.train(): weight, bias and statistics."""

    def make(model: Any, _: Any) -> Rewrite:
        from bnkit.rewrite.statistics.freezing import freeze as freeze_model

        return freeze_model(model, layers, inplace=True)

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
