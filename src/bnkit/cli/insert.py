"""`bnkit insert`: batch norms after a network's conv and linear layers."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bnkit.cli.rewrite_command import required, rewrite_command


@rewrite_command
def insert(
    model: Any,
    inputs: Any,
    after: Annotated[
        list[str] | None,
        typer.Option(
            "--after", help="Conv and linear layers by path or pattern (default all but the last)."
        ),
    ] = None,
    where: Annotated[
        str, typer.Option("--where", help="before-activation or after-activation.")
    ] = "before-activation",
    kind: Annotated[str, typer.Option("--kind", help="Whose batch norms: bnkit or torch.")] = (
        "bnkit"
    ),
    drop_bias: Annotated[
        bool,
        typer.Option(
            "--drop-bias/--keep-bias", help="Drop the biases that batch norm makes redundant."
        ),
    ] = True,
) -> Any:
    """Insert batch norms after conv and linear layers; an input is needed, to see their shapes."""
    from bnkit.rewrite.conversion.insertion import insert as insert_into

    return insert_into(
        model,
        required(inputs, "the shapes that layers return"),
        after=after,
        where=where,
        kind=kind,
        drop_bias=drop_bias,
        inplace=True,
    )
