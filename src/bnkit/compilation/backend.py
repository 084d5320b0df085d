"""The function behind `torch.compile(model, backend="bnkit")`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch._guards import CompileContext
from torch.fx import GraphModule

from bnkit.compilation.graph_check import CheckResult, check
from bnkit.compilation.graph_fusion import Fused, fuse, with_own_checkpoints
from bnkit.compilation.graph_report import GraphReport, keep
from bnkit.errors import ArgumentError, ArgumentTypeError, did_you_mean

_OPTIONS = ("check",)


def bnkit_backend(
    graph_module: GraphModule,
    example_inputs: Sequence[Any],
    *,
    mode: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Callable[..., Any]:
    """Let bnkit compute the batch norms of a captured graph, and run the graph as it is.

    Batch norm, an addition and an activation behind it become one call of
    `bnkit.functional.batch_norm`. Nothing else changes, and no code is generated: the graph runs
    by torch's operators, and autograd records it as ever. The rewritten graph is compared with
    the given one on the example inputs first; if they disagree, the given one is used.
    `bnkit.compile_reports()` says what was done.

    Args:
        graph_module: the graph that Dynamo captured.
        example_inputs: what it was captured with.
        mode: must be None; there are no modes.
        options: `{"check": False}` uses the rewritten graph without comparing.

    Returns:
        What computes the graph.

    Raises:
        ArgumentError: an option that there is not, or a mode.
    """
    wants_check = _wants_check(mode, options)
    try:
        graph_module = with_own_checkpoints(graph_module)
        fused = fuse(graph_module, records_gradients=torch.is_grad_enabled())
    except Exception as error:  # whatever a graph holds, it must not break the user's program
        keep(_failed(error))
        return graph_module.forward
    result = CheckResult(False, "")
    if fused.changes:
        result = CheckResult(False, "not checked: options said so")
        if wants_check:
            result = check(graph_module, fused.graph_module, example_inputs)
    is_rewritten = bool(fused.changes) and not result.is_refuted
    keep(_report(fused, result, is_rewritten=is_rewritten))
    return fused.graph_module.forward if is_rewritten else graph_module.forward


def _wants_check(mode: Any, options: Any) -> bool:
    """Return whether to check; raise for arguments that there are not."""
    if mode is not None:
        raise ArgumentError(
            f"got mode={mode!r}",
            required="the backend 'bnkit' has no modes",
            remedy="Leave mode out; options are " + ", ".join(_OPTIONS),
        )
    options = {} if options is None else dict(options)
    for name in options:
        if name not in _OPTIONS:
            raise ArgumentError(
                f"the backend 'bnkit' has no option {name!r}",
                required=f"the options are {', '.join(_OPTIONS)}",
                remedy=did_you_mean(str(name), _OPTIONS),
            )
    wants_check = options.get("check", True)
    if not isinstance(wants_check, bool):
        raise ArgumentTypeError(f"got check={wants_check!r}", required="it must be True or False")
    return wants_check


def _report(fused: Fused, result: CheckResult, *, is_rewritten: bool) -> GraphReport:
    return GraphReport(
        _compile_id(),
        fused.batch_norms,
        tuple(fused.changes),
        tuple(fused.skipped),
        is_rewritten,
        result.text,
        result.difference,
        result.tolerance,
    )


def _failed(error: Exception) -> GraphReport:
    text = f"left as it was given: rewriting it raised {type(error).__name__}: {error}"
    return GraphReport(_compile_id(), 0, (), (), False, text)


def _compile_id() -> str:
    found = CompileContext.current_compile_id()
    return "" if found is None else str(found)
