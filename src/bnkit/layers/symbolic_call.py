"""Keeps a layer whole where torch.fx traces a model symbolically, as torch's own layers are kept.

Traced through, a layer would leave its present mode in the graph for good.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


def is_symbolic(input: Any) -> bool:
    """Return whether this stands for a tensor in torch.fx's symbolic tracing."""
    return not isinstance(input, Tensor) and hasattr(input, "tracer")


def called_as_module(layer: nn.Module, input: Any, *further: Any) -> Any:
    """Return what stands for the layer's output: a call of the module, in the traced graph."""
    path = input.tracer.path_of_module(layer)
    return input.tracer.create_proxy("call_module", path, (input, *further), {})
