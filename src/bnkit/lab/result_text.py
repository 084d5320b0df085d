"""A study's results as text: the table of arms and a verdict per claim."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bnkit.lab.report.claim_cards import effect_estimate
from bnkit.lab.store import StoredStudy, Summary, Verdict
from bnkit.page.number_format import estimate, number, p_value

_METRICS = ("test accuracy", "test loss", "train accuracy", "train loss")
GRID_COLUMN = 16
_MARKS = {"supported": ("✓", "green"), "refuted": ("✗", "red"), "inconclusive": ("?", "yellow")}


def result_text(study: StoredStudy, width: int = 80) -> str:
    """Return the results without colour, for a pipe or a Python prompt."""
    stream = StringIO()
    grid_keys = len({key for summary in study.summaries for key in summary.grid})
    # A grid's table gets the room it needs; a terminal wraps a long line, and nothing is cut.
    console = Console(file=stream, width=width + GRID_COLUMN * grid_keys, color_system=None)
    print_results(study, console)
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
        rows.setdefault(f"{summary.arm} {summary.grid}", {})[summary.metric] = summary
    keys = list(dict.fromkeys(key for summary in summaries for key in summary.grid))
    any_diverged = any(summary.diverged for summary in summaries)
    table.add_column("arm", overflow="fold")
    for key in keys:
        table.add_column(key.rpartition(".")[2], overflow="fold")
    for heading in (*_METRICS, "seeds", *(["diverged"] if any_diverged else [])):
        table.add_column(heading, justify="right", overflow="fold")
    for cells in rows.values():
        some = next(iter(cells.values()))
        point = [Text(_short(some.grid.get(key, ""))) for key in keys]
        counts = [str(some.seeds), *([str(some.diverged)] if any_diverged else [])]
        metrics = (_cell(cells.get(metric)) for metric in _METRICS)
        table.add_row(Text(some.arm), *point, *metrics, *counts)
    return table


def _short(value: object) -> str:
    """Return a grid value in few characters: of a path to a network, its file's name."""
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).rpartition("/")[2]


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
        signed = verdict.effect_name != "ratio"
        shown = effect_estimate(verdict, verdict.low, verdict.high)
        bound = f"{verdict.effect_bound} " if verdict.effect_bound else ""
        what = "" if verdict.quantity in ("", verdict.metric) else f" of {verdict.quantity}"
        unit = f" {verdict.unit}" if verdict.unit == "epochs" and signed else ""
        parts.append(f"{verdict.effect_name}{what} {bound}{shown.value.text}{unit}")
    if verdict.p_adjusted is not None:
        parts.append(f"adjusted p {p_value(verdict.p_adjusted).text}")
    parts.append(f"{verdict.seeds} seed{'' if verdict.seeds == 1 else 's'}")
    if verdict.published:
        figures = ", ".join(f"{arm} {number(v).text}" for arm, v in verdict.published.items())
        parts.append(f"published: {figures}")
    text = "; ".join(parts)
    return f"{text}: {verdict.reason}" if verdict.reason else text
