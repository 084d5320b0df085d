"""Batch norm as differentiable functions. `batch_norm` takes what `torch.nn.functional`'s takes."""

from typing import TYPE_CHECKING

from bnkit._lazy import attach

if TYPE_CHECKING:
    from bnkit.functional.activation import activation_names as activation_names
    from bnkit.functional.normalization import batch_norm as batch_norm
    from bnkit.functional.running_statistics import (
        update_running_statistics as update_running_statistics,
    )

__getattr__, __dir__ = attach(
    __name__,
    {
        "activation_names": "bnkit.functional.activation",
        "batch_norm": "bnkit.functional.normalization",
        "update_running_statistics": "bnkit.functional.running_statistics",
    },
)
