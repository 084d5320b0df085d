"""`bnkit remove`: a network without its batch norms."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bnkit.cli.rewrite_command import LayersOption, required, rewrite_command


@rewrite_command
def remove(
    model: Any,
    inputs: Any,
    layers: LayersOption = None,
    restore_bias: Annotated[
        bool,
        typer.Option(
            "--restore-bias/--no-restore-bias",
            help="Give layers that fed a batch norm without a bias one of zeros.",
        ),
    ] = True,
    fold_scale: Annotated[
        bool,
        typer.Option(
            "--fold-scale", help="Fold scale and shift into the layer beside it, where exact."
        ),
    ] = False,
) -> Any:
    """Replace every batch norm, or those of --layers, by the identity.

    An input is needed: one run shows which layers feed a batch norm, and lack a bias without it.
    """
    from bnkit.rewrite.conversion.removal import remove as remove_from

    return remove_from(
        model,
        required(inputs, "which layers feed a batch norm"),
        layers=layers,
        restore_bias=restore_bias,
        fold_scale=fold_scale,
        inplace=True,
    )
