"""What the compile backend did to each captured graph, as plain data, and where it is kept."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from bnkit.errors import ArgumentTypeError
from bnkit.rewrite.result import Change, Skipped

# Recompilations are without limit in a long-lived process; the account of them is not.
KEPT = 256
_reports: deque[GraphReport] = deque(maxlen=KEPT)


@dataclass(frozen=True)
class GraphReport:
    """What the backend did to one captured graph. Holds text and numbers, and no tensor or model.

    Attributes:
        compile_id: Dynamo's name of the graph, "frame/recompilation", as `TORCH_LOGS` prints it;
            empty where Dynamo gave none.
        batch_norms: how many calls of batch norm the graph has.
        changes: the calls that bnkit computes, each with what was fused into it.
        skipped: what was left as it was, each with the reason.
        is_rewritten: whether the changed graph is the one that runs.
        check: how the changed graph was checked against the given one, or why not.
        difference: the largest relative difference found; None if nothing was compared.
        tolerance: the difference that was allowed; None if nothing was compared.
    """

    compile_id: str
    batch_norms: int
    changes: tuple[Change, ...]
    skipped: tuple[Skipped, ...]
    is_rewritten: bool
    check: str
    difference: float | None = None
    tolerance: float | None = None

    def __str__(self) -> str:
        count = f"{len(self.changes)} of {self.batch_norms} batch norms"
        head = f"{count} computed by bnkit" if self.batch_norms else "no batch norm"
        if self.changes and not self.is_rewritten:
            head = f"runs as it was given, although bnkit could compute {count}"
        lines = [f"graph {self.compile_id or '?'}: {head}"]
        lines += [f"  {change.path}: {change.what}" for change in self.changes]
        lines += [f"  {item.path}: {item.reason}" for item in self.skipped]
        if self.check:
            lines.append(f"  {self.check}")
        if self.difference is not None:
            lines.append(
                f"  largest relative difference {self.difference:.2g}, allowed {self.tolerance:.2g}"
            )
        return "\n".join(lines)


def compile_reports(*, clear: bool = False) -> tuple[GraphReport, ...]:
    """Return what `torch.compile(…, backend="bnkit")` did in this process, the newest last.

    One report for each captured graph: a model has several where Dynamo breaks its graph, and one
    more for each recompilation, such as after `train()` and `eval()`. A graph is captured at a
    model's first call, and not before. The last 256 are kept.

    Args:
        clear: whether to forget them afterwards.
    """
    found = tuple(_reports)
    if not isinstance(clear, bool):
        raise ArgumentTypeError(f"got clear={clear!r}", required="it must be True or False")
    if clear:
        _reports.clear()
    return found


def keep(report: GraphReport) -> None:
    """Add a report to those that `compile_reports` returns."""
    _reports.append(report)
