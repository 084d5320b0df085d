"""`bnkit prune`: channels removed from a model."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from bnkit.cli.rewrite_command import LayersOption, required, rewrite_command


class Score(StrEnum):
    """What channels are ranked by."""

    SCALE = "scale"
    NORM = "norm"
    RANDOM = "random"


class Scope(StrEnum):
    """Among which channels the share is taken."""

    GLOBAL = "global"
    LAYER = "layer"


@rewrite_command
def prune(
    model: Any,
    inputs: Any,
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
) -> Any:
    """Remove channels from all layers in which they stand; a smaller dense model is left.

    An example input or its shape is needed; it defaults to that of pyproject.toml, [tool.bnkit].
    """
    from bnkit.rewrite.pruning.pruning import prune as prune_model

    return prune_model(
        model,
        required(inputs, "which channels belong together"),
        amount=amount,
        by=by.value,
        layers=layers,
        scope=scope.value,
        seed=seed,
        round_to=round_to,
        minimum=minimum,
        inplace=True,
    )
