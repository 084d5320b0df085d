"""All that a network gives on an example: outputs, gradients, and the buffers it leaves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map
from torch.utils.hooks import RemovableHandle

from bnkit.inspection.nested_tensors import tensors_in
from bnkit.inspection.preserve import preserve
from bnkit.inspection.trace import Example, as_call

# How many units in the last place of the largest value an input is nudged by.
_UNITS = 16


@dataclass(frozen=True)
class NetworkRun:
    """What came out of one run.

    Attributes:
        outputs: copies of the tensors in what the network returned.
        values: name → those and the gradients, None for one that did not come, and all buffers.
        gradient_error: why there are no gradients, as a clause; else empty.
    """

    outputs: list[Tensor]
    values: dict[str, Tensor | None]
    gradient_error: str = ""


def run_network(
    model: nn.Module,
    example: Example,
    *,
    training: bool,
    with_gradients: bool = True,
    nudged: Iterable[nn.Module] = (),
    seed: int = 0,
) -> NetworkRun:
    """Run a network forwards and backwards; network, example and random state are left alone.

    The gradients are those of Σ outputs · random numbers, equal in all runs. A network that does
    not run with gradients recorded is run without.

    Args:
        model: the network.
        example: what its forward takes.
        training: put it into training mode, else into eval mode.
        with_gradients: whether gradients are asked for.
        nudged: layers whose inputs, and the gradients of which, are moved by some rounding units.
        seed: of the nudges.

    Raises:
        Exception: what the network raises without gradients.
    """
    if with_gradients:
        try:
            return _run(model, example, training, True, nudged, seed)
        except Exception as error:
            clause = f"with gradients recorded the network raised {type(error).__name__}"
            found = _run(model, example, training, False, nudged, seed)
            return NetworkRun(found.outputs, found.values, clause)
    return _run(model, example, training, False, nudged, seed)


def _run(
    model: nn.Module,
    example: Example,
    training: bool,
    with_gradients: bool,
    nudged: Iterable[nn.Module],
    seed: int,
) -> NetworkRun:
    with preserve(model, example), torch.set_grad_enabled(with_gradients):
        model.train(training)
        leaves: list[Tensor] = []

        def as_leaf(value: Any) -> Any:
            if not with_gradients or not isinstance(value, Tensor) or not value.is_floating_point():
                return value
            leaves.append(value.detach().clone().requires_grad_())
            # Not the leaf itself: the network may write into its input.
            return leaves[-1].clone()

        args, kwargs = tree_map(as_leaf, as_call(example))
        with _nudges(nudged, seed):
            returned = tensors_in(model(*args, **kwargs))
            outputs = [tensor.detach().clone() for tensor in returned]
            values: dict[str, Tensor | None] = {
                f"output {number}": tensor for number, tensor in enumerate(outputs)
            }
            if with_gradients:
                parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
                inputs = {f"input {number}": leaf for number, leaf in enumerate(leaves)}
                values |= _gradients(returned, inputs | parameters)
        values |= {f"buffer {name}": b.detach().clone() for name, b in model.named_buffers()}
    return NetworkRun(outputs, values)


def _gradients(outputs: Iterable[Tensor], wanted: dict[str, Tensor]) -> dict[str, Tensor | None]:
    generator = torch.Generator("cpu").manual_seed(0)
    ends = [tensor for tensor in outputs if tensor.requires_grad]
    weights = [torch.randn(t.shape, generator=generator, device="cpu").to(t) for t in ends]
    if not ends or not wanted:
        return {}
    gradients = torch.autograd.grad(ends, list(wanted.values()), weights, allow_unused=True)
    return {
        f"gradient of {name}": None if gradient is None else gradient.detach()
        for name, gradient in zip(wanted, gradients, strict=True)
    }


@contextmanager
def _nudges(layers: Iterable[nn.Module], seed: int) -> Iterator[None]:
    generator = torch.Generator("cpu").manual_seed(seed)
    handles: list[RemovableHandle] = []

    def nudge(value: Tensor) -> Tensor:
        if not value.is_floating_point() or not value.numel():
            return value
        size = _UNITS * torch.finfo(value.dtype).eps * value.detach().abs().max()
        noise = torch.rand(value.shape, generator=generator, device="cpu").to(value) * 2 - 1
        return value + size * noise

    def nudge_input(_: nn.Module, args: Any, kwargs: Any) -> Any:
        def nudge_both(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            moved = nudge(value)
            if moved.requires_grad:
                moved.register_hook(nudge)  # type: ignore[no-untyped-call]
            return moved

        return tree_map(nudge_both, (args, kwargs))

    try:
        handles += [
            layer.register_forward_pre_hook(nudge_input, with_kwargs=True) for layer in layers
        ]
        yield
    finally:
        for handle in handles:
            handle.remove()
