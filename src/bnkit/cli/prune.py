"""`bnkit prune`: channels removed from a model."""

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
from bnkit.errors import RewriteError

if TYPE_CHECKING:
    from bnkit.rewrite.result import Rewrite


class Score(StrEnum):
    """What channels are ranked by."""

    SCALE = "scale"
    NORM = "norm"
    RANDOM = "random"


class Scope(StrEnum):
    """Among which channels the share is taken."""

    GLOBAL = "global"
    LAYER = "layer"


def prune(
    target: TargetArgument,
    amount: Annotated[
        float, typer.Option("--amount", help="Share of the channels to remove, above 0, below 1.")
    ],
    by: Annotated[
        Score, typer.Option("--by", help="Lowest |γ|, lowest weight norm, or random.")
    ] = Score.SCALE,
    scope: Annotated[
        Scope, typer.Option("--scope", help="Over all layers, or the same share of each.")
    ] = Scope.GLOBAL,
    layers: LayersOption = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="For --by random.")] = 0,
    round_to: Annotated[
        int, typer.Option("--round-to", min=1, help="Leave multiples of so many channels.")
    ] = 1,
    minimum: Annotated[
        int, typer.Option("--minimum", min=1, help="Leave at least so many channels.")
    ] = 1,
    shape: ShapeOption = None,
    example: ExampleOption = None,
    weights: WeightsOption = None,
    out: OutOption = None,
    format_: FormatOption = OutputFormat.TEXT,
    debug: DebugOption = False,
) -> None:
    """Remove channels from all layers in which they stand; a smaller dense model is left.

    An example input or its shape is needed; it defaults to that of pyproject.toml, [tool.bnkit].
    """

    def make(model: Any, inputs: Any) -> Rewrite:
        from bnkit.rewrite.pruning.pruning import prune as prune_model

        if inputs is None:
            raise RewriteError(
                "prune was given no example input",
                required="one forward, in which channels are followed",
                remedy="Give --shape 1x3x224x224, or --example file.py:make_batch",
            )
        return prune_model(
            model,
            inputs,
            amount=amount,
            by=by.value,
            layers=layers or None,
            scope=scope.value,
            seed=seed,
            round_to=round_to,
            minimum=minimum,
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
