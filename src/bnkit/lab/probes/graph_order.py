"""The order in which a forward did what it did, as the graph of its loss keeps it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor
from torch.autograd.graph import Node


def first_uses(loss: Tensor, parameters: Mapping[str, Tensor]) -> dict[str, int]:
    """Return name → number of the first node that uses the parameter, of those that the loss needs.

    Autograd numbers nodes in the order in which they were made, so that these numbers are the order
    in which a forward used its parameters, whichever module did.
    """
    names: dict[int, list[str]] = {}
    for name, parameter in parameters.items():
        names.setdefault(id(parameter), []).append(name)
    found: dict[str, int] = {}
    for node in nodes_before(loss):
        for following, _ in node.next_functions:
            for name in names.get(id(getattr(following, "variable", None)), ()):
                found[name] = min(found.get(name, node_number(node)), node_number(node))
    return found


def nodes_before(tensor: Tensor) -> Iterator[Node]:
    """Yield the nodes of a tensor's graph, each once."""
    waiting = [] if tensor.grad_fn is None else [tensor.grad_fn]
    seen = {*waiting}
    while waiting:
        node = waiting.pop()
        yield node
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)


def node_number(node: Node) -> int:
    """Return the place of a node among all that its thread made."""
    return node._sequence_nr()
