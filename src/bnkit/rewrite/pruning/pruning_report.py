"""The result of pruning: a rewrite with what the model got smaller by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from bnkit.inspection.trace import Example, as_call
from bnkit.rewrite.pruning.channel_trace import followed_mode, is_composite
from bnkit.rewrite.result import Rewrite


@dataclass
class Pruning(Rewrite):
    """A pruned model with the account of what was removed.

    Attributes:
        parameters_before: number of parameters of the given model.
        parameters_after: and of the pruned one.
        multiply_adds_before: of convolutions and matrix products in one forward on the example.
        multiply_adds_after: and of the pruned model.
        channels: path of a layer → its output channels before and after.
        amount: share of the channels that could be removed that were.
    """

    parameters_before: int = 0
    parameters_after: int = 0
    multiply_adds_before: int = 0
    multiply_adds_after: int = 0
    channels: dict[str, tuple[int, int]] = field(default_factory=dict)
    amount: float = 0.0

    def report(self) -> dict[str, Any]:
        """Return the numbers, as values for JSON."""
        return {
            "parameters_before": self.parameters_before,
            "parameters_after": self.parameters_after,
            "multiply_adds_before": self.multiply_adds_before,
            "multiply_adds_after": self.multiply_adds_after,
            "amount": self.amount,
            "channels": {
                path: {"before": before, "after": after}
                for path, (before, after) in self.channels.items()
            },
        }

    def _more(self) -> list[str]:
        return [
            _shrunk("parameters", self.parameters_before, self.parameters_after),
            _shrunk("multiply-adds", self.multiply_adds_before, self.multiply_adds_after),
        ]


def _shrunk(what: str, before: int, after: int) -> str:
    share = f" ({1 - after / before:.1%} fewer)" if before else ""
    return f"{what}: {before:,} → {after:,}{share}"


def parameter_count(model: nn.Module) -> int:
    """Return the number of a model's parameters, tied ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def multiply_adds(model: nn.Module, example: Example) -> int:
    """Return the multiply-adds of convolutions and matrix products in a forward in eval mode.

    Zeros that a convolution pads with are counted as if they were multiplied; a fused attention or
    recurrent layer is not looked into.
    """
    args, kwargs = as_call(example)
    with followed_mode(model, example, training=False):
        counter = _Counter()
        with counter:
            model(*args, **kwargs)
    return counter.count


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts multiply-adds while it is entered."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if is_composite(func):
            with self:
                return func.decompose(*args, **(kwargs or {}))
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name == "convolution":
            is_transposed = bool(args[6])
            places = args[0] if is_transposed else result
            self.count += places.numel() * math.prod(args[1].shape[1:])
        elif name in ("mm", "bmm"):
            self.count += result.numel() * args[0].shape[-1]
        elif name in ("addmm", "baddbmm"):
            self.count += result.numel() * args[1].shape[-1]
        return result
