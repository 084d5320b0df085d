"""`bnkit unfreeze`: give frozen layers back what they were."""

from __future__ import annotations

from typing import Any

from bnkit.cli.rewrite_command import LayersOption, rewrite_command


@rewrite_command
def unfreeze(
    model: Any,
    inputs: Any,
    layers: LayersOption = None,
) -> Any:
    """Give layers that were frozen in the model's code their mode and training back."""
    from bnkit.rewrite.statistics.freezing import unfreeze as unfreeze_model

    return unfreeze_model(model, layers, inplace=True)
