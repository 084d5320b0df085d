"""`bnkit unfreeze`: give frozen layers back what they were."""

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


def unfreeze(
    target: TargetArgument,
    layers: LayersOption = None,
    weights: WeightsOption = None,
    shape: ShapeOption = None,
    example: ExampleOption = None,
    out: OutOption = None,
    format_: FormatOption = OutputFormat.TEXT,
    debug: DebugOption = False,
) -> None:
    """Give layers that were frozen in the model's code their mode and training back."""

    def make(model: Any, _: Any) -> Rewrite:
        from bnkit.rewrite.statistics.freezing import unfreeze as unfreeze_model

        return unfreeze_model(model, layers, inplace=True)

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
