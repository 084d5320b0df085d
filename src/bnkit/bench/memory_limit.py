"""The memory limit: the time of the copies that no implementation can do without.

| operation | forward | backward |
|---|---|---|
| `bn`, `bn-relu` | reads x, writes y | reads grad_output and x, writes x's gradient |
| `bn-add-relu` | reads x and residual, writes y | reads grad_output, x and y, writes 2 gradients |

Forward is one copy, or one two-input add for `bn-add-relu`. Backward is one two-input add; for
`bn-add-relu` also one copy, because the residual's gradient is a tensor of its own and neither
grad_output nor x tells where the activation was zero. Statistics and sums over a channel would be
free. What a cache keeps between the passes over one tensor costs neither side.

Tensors of two bytes a value are copied and added as integers, which takes no conversion.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bnkit.bench.cases import Case
from bnkit.bench.inputs import Inputs


class FreshLimit:
    """The copies, each into a fresh tensor, as torch's operators do it."""

    def __init__(self, case: Case, inputs: Inputs) -> None:
        self._adds = case.operation == "bn-add-relu"
        self._x, self._grad_output = _bytes_of(inputs.x), _bytes_of(inputs.grad_output)
        self._residual = self._x if inputs.residual is None else _bytes_of(inputs.residual)

    def forward(self) -> Tensor:
        """Return a copy of x, or x + residual."""
        return torch.add(self._x, self._residual) if self._adds else torch.clone(self._x)

    def backward(self, y: Tensor) -> tuple[Tensor, ...]:
        """Return grad_output + x, and a copy of y where a residual has a gradient too."""
        grad_x = torch.add(self._grad_output, self._x)
        return (grad_x, torch.clone(y)) if self._adds else (grad_x,)


class ReusedLimit(FreshLimit):
    """The same copies into tensors that are there already: no pages to fault in."""

    def __init__(self, case: Case, inputs: Inputs) -> None:
        super().__init__(case, inputs)
        self._y, self._grad_x, self._grad_residual = (
            torch.empty_like(self._x) if wanted else self._x for wanted in (True, True, self._adds)
        )

    def forward(self) -> Tensor:
        """Write a copy of x, or x + residual."""
        if self._adds:
            return torch.add(self._x, self._residual, out=self._y)
        return self._y.copy_(self._x)

    def backward(self, y: Tensor) -> tuple[Tensor, ...]:
        """Write grad_output + x, and a copy of y where a residual has a gradient too."""
        torch.add(self._grad_output, self._x, out=self._grad_x)
        return (self._grad_x, self._grad_residual.copy_(y)) if self._adds else (self._grad_x,)


def _bytes_of(x: Tensor) -> Tensor:
    x = x.detach()
    return x.view(torch.int16) if x.element_size() == 2 else x
