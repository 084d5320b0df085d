"""`bnkit convert`: batch norms become another kind of layer."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bnkit.cli.rewrite_command import LayersOption, rewrite_command


@rewrite_command
def convert(
    model: Any,
    inputs: Any,
    to: Annotated[
        str,
        typer.Option("--to", help="The kind: bnkit, torch, group, layer, instance or frozen."),
    ],
    layers: LayersOption = None,
    groups: Annotated[
        int, typer.Option("--groups", help="For --to group: how many groups at most.")
    ] = 32,
) -> Any:
    """Turn batch norms into another kind of layer, with their weight, bias, eps and modes.

    With an input the whole network is compared before and after: to bnkit, torch and frozen it has
    to give the same; to the others the difference is told.
    """
    from bnkit.rewrite.conversion.conversion import convert as convert_model

    return convert_model(model, to, layers=layers, example_args=inputs, inplace=True, groups=groups)
