"""A study's results as text: the table of arms and a verdict per claim."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bnkit.lab.report.number_format import estimate, number, p_value
from bnkit.lab.store import StoredStudy, Summary, Verdict

_METRICS = ("test accuracy", "test loss", "train accuracy", "train loss")
_MARKS = {"supported": ("✓", "green"), "refuted": ("✗", "red"), "inconclusive": ("?", "yellow")}


def result_text(study: StoredStudy, width: int = 80) -> str:
    """Return the results without colour, for a pipe or a Python prompt."""
    stream = StringIO()
    print_results(study, Console(file=stream, width=width, color_system=None))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()).rstrip()


def print_results(study: StoredStudy, console: Console) -> None:
    """Print the table of arms, a verdict per claim, and notes on what a reader must know."""
    console.print(_arm_table(study.summaries))
    for verdict in study.verdicts:
        _print_verdict(verdict, console)
    if not study.verdicts:
        console.print("The study states no claims, so there is no verdict.")


def _arm_table(summaries: Sequence[Summary]) -> Table:
    table = Table(
        title="At the end of training: mean over seeds, 95 % interval",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    rows: dict[str, dict[str, Summary]] = {}
    for summary in summaries:
        rows.setdefault(_label(summary), {})[summary.metric] = summary
    table.add_column("arm")
    for metric in _METRICS:
        table.add_column(metric, justify="right")
    table.add_column("seeds", justify="right")
    any_diverged = any(summary.diverged for summary in summaries)
    if any_diverged:
        table.add_column("diverged", justify="right")
    for label, cells in rows.items():
        some = next(iter(cells.values()))
        counts = [str(some.seeds), *([str(some.diverged)] if any_diverged else [])]
        table.add_row(Text(label), *(_cell(cells.get(metric)) for metric in _METRICS), *counts)
    return table


def _label(summary: Summary) -> str:
    return summary.arm + "".join(f"\n{key} = {value}" for key, value in summary.grid.items())


def _cell(summary: Summary | None) -> str:
    if summary is None:
        return "–"
    shown = estimate(summary.mean, summary.low, summary.high)
    if not shown.has_interval:
        return shown.value.text
    return f"{shown.value.text}\n{shown.low.text}…{shown.high.text}"


def _print_verdict(verdict: Verdict, console: Console) -> None:
    mark, style = _MARKS[verdict.outcome]
    console.print(
        Text.assemble((f"{mark} {verdict.outcome}", f"bold {style}"), f": {verdict.text}")
    )
    console.print(Padding(Text(_details(verdict)), (0, 0, 0, 2)))


def _details(verdict: Verdict) -> str:
    parts = []
    if verdict.effect is not None:
        shown = estimate(verdict.effect, verdict.low, verdict.high, signed=True)
        parts.append(f"{verdict.effect_name} {shown.value.text}")
    if verdict.p_adjusted is not None:
        parts.append(f"adjusted p {p_value(verdict.p_adjusted).text}")
    parts.append(f"{verdict.seeds} seed{'' if verdict.seeds == 1 else 's'}")
    diverged = {arm: count for arm, count in verdict.diverged.items() if count}
    if diverged:
        parts.append("diverged: " + ", ".join(f"{n} of {arm!r}" for arm, n in diverged.items()))
    if verdict.published:
        figures = ", ".join(f"{arm} {number(v).text}" for arm, v in verdict.published.items())
        parts.append(f"published: {figures}")
    text = "; ".join(parts)
    return f"{text}: {verdict.reason}" if verdict.reason else text
