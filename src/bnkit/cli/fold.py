"""`bnkit fold`: batch norms folded into the conv and linear layers beside them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from bnkit.cli.rewrite_command import LayersOption, required, rewrite_command


class BorderChoice(StrEnum):
    """What becomes of a batch norm before a conv that pads with zeros."""

    REFUSE = "refuse"
    CORRECT = "correct"


@rewrite_command
def fold(
    model: Any,
    inputs: Any,
    layers: LayersOption = None,
    border: Annotated[
        BorderChoice,
        typer.Option(
            "--border",
            help="A batch norm before a conv that pads with zeros: refuse, or correct its border.",
        ),
    ] = BorderChoice.REFUSE,
) -> Any:
    """Fold batch norms into the conv or linear layers beside them, each pair proved on an example.

    The model is put into eval mode. Input and weights default to pyproject.toml, [tool.bnkit].
    """
    from bnkit.rewrite.folding.folding import fold as fold_model

    seen = required(inputs, "which batch norms stand beside a conv or linear layer")
    return fold_model(model.eval(), seen, layers=layers, border=border.value, inplace=True)
