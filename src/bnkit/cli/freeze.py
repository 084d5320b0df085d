"""`bnkit freeze`: freeze normalization layers: weight, bias and running statistics."""

from __future__ import annotations

from typing import Any

from bnkit.cli.rewrite_command import LayersOption, rewrite_command


@rewrite_command
def freeze(
    model: Any,
    inputs: Any,
    layers: LayersOption = None,
) -> Any:
    """Freeze normalization layers, also against model.train(): weight, bias and statistics."""
    from bnkit.rewrite.statistics.freezing import freeze as freeze_model

    return freeze_model(model, layers, inplace=True)
