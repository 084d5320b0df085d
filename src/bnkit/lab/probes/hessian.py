"""Products of the Hessian of a step's loss with a vector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from bnkit.errors import ProbeError
from bnkit.lab.probes.graph_order import nodes_before
from bnkit.lab.probes.probed_step import ProbedStep


def hessian_vector_product(step: ProbedStep, vector: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return Hv = ∇(∇L · v) at the weights that the network has now.

    Args:
        step: whose loss is L.
        vector: v by parameter name.

    Raises:
        ProbeError: something in the network has no second derivative in torch.

    Cost: a forward, a backward, and a backward through both, for which the graph is kept.

    Source: Pearlmutter 1994, "Fast exact multiplication by the Hessian".
    """
    known = step.parameters()
    wanted = [known[name] for name in vector]
    summed = {name: torch.zeros_like(each) for name, each in vector.items()}
    with torch.enable_grad(), _twice_differentiable(step.network):
        for index, share in enumerate(step.shares()):
            with step.batch_loss(index) as loss:
                products = _products(loss * share, wanted, [*vector.values()])
            for total, part in zip(summed.values(), products, strict=True):
                if part is not None:
                    total.add_(part)
    step.ranks.average([*summed.values()])
    return summed


def _products(
    loss: Tensor, wanted: list[Tensor], vector: list[Tensor]
) -> tuple[Tensor | None, ...]:
    nothing = (None,) * len(wanted)
    if not loss.requires_grad:
        return nothing
    try:
        gradient = torch.autograd.grad(loss, wanted, create_graph=True, allow_unused=True)
        parts = [
            (each * other).sum()
            for each, other in zip(gradient, vector, strict=True)
            if each is not None and each.requires_grad
        ]
        if not parts:
            return nothing
        inner = torch.stack(parts).sum()
        products = torch.autograd.grad(inner, wanted, allow_unused=True)
    except RuntimeError as error:
        raise _no_second_derivative(str(error).partition("\n")[0]) from error
    # Autograd goes around what a `once_differentiable` function left in the graph, where that leads
    # to no parameter; the product then lacks its part.
    if any("Error" in node.name() for node in nodes_before(inner)):
        raise _no_second_derivative("a function in the network is marked once_differentiable")
    return products


def _no_second_derivative(why: str) -> ProbeError:
    return ProbeError(
        f"the loss cannot be differentiated twice: {why}",
        required="operators whose backward torch can differentiate",
        where="probe sharpness",
    )


@contextmanager
def _twice_differentiable(network: nn.Module) -> Iterator[None]:
    """Choose those implementations of operators that can be differentiated twice."""
    with ExitStack() as stack:
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if any(isinstance(module, nn.RNNBase) for module in network.modules()):
            # cuDNN's recurrent networks have a first derivative only.
            cudnn = torch.backends.cudnn
            flags = cudnn.flags(enabled=False, allow_tf32=cudnn.allow_tf32)
            stack.enter_context(flags)
        yield
