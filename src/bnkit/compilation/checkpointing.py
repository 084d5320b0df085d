"""Runs activation checkpoints that Dynamo captured, as they run outside of it."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch.utils.checkpoint
from torch.fx import GraphModule, Node

CAPTURED = "tag_activation_checkpoint"
_KEYWORDS = ("preserve_rng_state", "determinism_check", "debug")


def run_checkpointed(body: GraphModule, *arguments: Any, **keywords: Any) -> Any:
    """Run a part of a graph, keep nothing of it, and run it again when backward needs it.

    Dynamo's own operator is made for compilers that take a graph apart: run as it is, it keeps
    the counters that batch norms move, and backward refuses what has moved; nor does it repeat
    the random numbers. Here the arguments are bound, as a module's buffers are.
    """
    result: Any = torch.utils.checkpoint.checkpoint(
        partial(body, *arguments), use_reentrant=False, **keywords
    )
    return result


def is_plain_checkpoint(node: Node, body: GraphModule) -> bool:
    """Return whether a node is a checkpoint that `run_checkpointed` may run in its place.

    One with a policy of its own, that keeps some results, is left to Dynamo's operator.
    """
    return (
        str(node.target) == CAPTURED
        and "_checkpoint_context_fn" not in body.meta
        and node.kwargs.get("use_reentrant", False) is False
        and "context_fn" not in node.kwargs
    )


def replace_checkpoint(node: Node) -> None:
    """Let `run_checkpointed` run a checkpoint."""
    assert node.op == "call_function"
    node.target = run_checkpointed
    node.kwargs = {name: node.kwargs[name] for name in _KEYWORDS if name in node.kwargs}
