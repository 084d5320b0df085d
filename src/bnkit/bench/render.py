"""A bench as tables: text for a terminal, Markdown for a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

from bnkit.bench.bench_run import BenchResult
from bnkit.bench.cases import CHANNELS_LAST_RANKS, shape_text
from bnkit.bench.row import BNKIT, COMPILE, LIMIT, LIMIT_REUSED, SLOWER_RATIO, SLOWER_US, TORCH, Row
from bnkit.bench.summary import LARGE_MIB, Summary

_ABSENT = "-"
_PASS_WORDS = {"both": "forward + backward", "forward": "forward alone"}


class _Column(NamedTuple):
    title: str
    cell: Callable[[Row], str]


class Table(NamedTuple):
    """A heading, titles of columns, and rows of cells; the first columns are words."""

    heading: str
    titles: tuple[str, ...]
    rows: list[tuple[str, ...]]
    words: int = 1


def render_text(result: BenchResult) -> str:
    """Return the result as text, about 100 columns wide."""
    tables = "\n\n".join(_text_table(table) for table in tables_of(result))
    return "\n\n".join([_machine_line(result), tables, *_notes(result)])


def render_markdown(result: BenchResult) -> str:
    """Return the result as a page in Markdown."""
    tables = "\n\n".join(_markdown_table(table) for table in tables_of(result))
    return "\n\n".join([_machine_line(result), tables, *_notes(result)]) + "\n"


def tables_of(result: BenchResult) -> list[Table]:
    """Return one table for each operation, layout, dtype, mode and pass, and the summary."""
    has_compile = any(row.samples.get(COMPILE) for row in result.rows)
    tables = []
    for heading, rows in groupby(result.rows, key=_heading):
        columns = _columns(has_compile)
        cells = [tuple(column.cell(row) for column in columns) for row in rows]
        tables.append(Table(heading, tuple(column.title for column in columns), cells))
    if result.summaries:
        tables.append(_summary_table(result.summaries, has_compile))
    return tables


def _heading(row: Row) -> str:
    case = row.case
    words = (case.operation, case.dtype, case.layout, case.mode, _PASS_WORDS[case.passes])
    return ", ".join(words)


def _columns(has_compile: bool) -> list[_Column]:
    columns = [
        _Column("shape", lambda row: shape_text(row.case.shape)),
        _Column("bnkit ms", lambda row: _time(row, BNKIT)),
        _Column("torch ms", lambda row: _time(row, TORCH)),
    ]
    if has_compile:
        columns.append(_Column("compile ms", lambda row: _time(row, COMPILE)))
    columns += [
        _Column("limit ms", lambda row: _time(row, LIMIT)),
        _Column("reused ms", lambda row: _time(row, LIMIT_REUSED)),
        _Column("vs torch", lambda row: _ratio(row.vs_torch)),
    ]
    if has_compile:
        columns.append(_Column("vs compile", lambda row: _ratio(row.vs_compile)))
    columns += [
        _Column("vs limit", lambda row: _ratio(row.vs_limit)),
        _Column("kernel", lambda row: row.kernel if not row.refusal else "WRONG"),
    ]
    return columns


def _summary_table(summaries: Sequence[Summary], has_compile: bool) -> Table:
    titles = ["operation", "dtype", "layout", "mode", "pass", "shapes", "vs torch"]
    titles += ["vs compile"] if has_compile else []
    titles += ["vs limit", "vs reused", "slowest beside torch"]
    rows = []
    for each in summaries:
        cells = [each.operation, each.dtype, each.layout, each.mode, each.passes]
        cells += [str(each.shapes), _ratio(each.vs_torch)]
        cells += [_ratio(each.vs_compile)] if has_compile else []
        cells += [_ratio(each.vs_limit), _ratio(each.vs_limit_reused), _slowest(each)]
        rows.append(tuple(cells))
    heading = f"geometric means over shapes; vs limit over tensors beyond {LARGE_MIB:g} MiB"
    return Table(heading, tuple(titles), rows, words=5)


def _slowest(summary: Summary) -> str:
    if summary.slowest_shape is None or summary.slowest_vs_torch is None:
        return _ABSENT
    beyond = len(summary.slower_shapes)
    bar = f", {beyond} beyond the bar" if beyond else ""
    return f"{shape_text(summary.slowest_shape)} {summary.slowest_vs_torch:.2f}{bar}"


def _notes(result: BenchResult) -> list[str]:
    percent = round((SLOWER_RATIO - 1) * 100)
    notes = [
        "vs torch, vs compile: their time / bnkit's, more is better. "
        "vs limit: bnkit's time / the\ntime of the unavoidable copies, less is better, 1 is the "
        "limit; they write fresh tensors, as torch\ndoes (limit), or tensors that are there "
        "already (reused). Times are medians, ± half the quartiles'\ndistance; ratios are medians "
        f"over rounds. The bar: slower than torch by more than {percent} % and {SLOWER_US:g} µs."
    ]
    notes += [
        "\n".join(lines) for lines in (_beyond(result), _kernels(result), _absent(result)) if lines
    ]
    left_out = [shape for shape in result.settings.shapes if len(shape) not in CHANNELS_LAST_RANKS]
    if left_out and "channels-last" in result.settings.layouts:
        notes.append(f"Without a channels-last form: {', '.join(map(shape_text, left_out))}.")
    if result.was_interrupted:
        missing = len(list(result.settings.cases())) - len(result.rows)
        notes.append(f"Interrupted: {_cases(missing)} not measured.")
    return notes


def _beyond(result: BenchResult) -> list[str]:
    """Return a line for each case that is slower than torch by more than the bar."""
    return [
        f"Beyond the bar: {row.case}, {row.vs_torch:.2f} of torch's speed, {row.difference_us:.0f} "
        f"µs slower."
        for row in result.rows
        if row.vs_torch is not None and not row.is_within_torch_bar
    ]


def _kernels(result: BenchResult) -> list[str]:
    """Return a line for each kernel that was picked, with the reason."""
    counted = Counter((row.kernel, row.kernel_reason) for row in result.rows)
    return [
        f"Kernel {name} for {_cases(count)}: {reason}." for (name, reason), count in counted.items()
    ]


def _absent(result: BenchResult) -> list[str]:
    """Return a line for each reason why a peer was not timed."""
    reasons: dict[tuple[str, str], list[Row]] = {}
    for row in result.rows:
        for peer, reason in row.absent.items():
            reasons.setdefault((peer, reason), []).append(row)
    return [
        f"Not timed: {peer} on {rows[0].case if len(rows) == 1 else _cases(len(rows))}: {reason}."
        for (peer, reason), rows in reasons.items()
    ]


def _cases(count: int) -> str:
    return f"{count} case{'s' * (count != 1)}"


def _machine_line(result: BenchResult) -> str:
    versions = result.machine["versions"]
    named = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    threads = f"{result.threads} thread{'s' * (result.threads != 1)}"
    return f"{result.machine['processor']}, {threads}; {named}"


def _time(row: Row, peer: str) -> str:
    spread = row.spread(peer)
    if spread is None:
        return _ABSENT
    if row.rounds == 1:
        return _three_digits(spread.median)
    half = (spread.high_quartile - spread.low_quartile) / 2
    percent = f"±{100 * half / spread.median:.0f}%"
    return f"{_three_digits(spread.median)} {percent:>4}"


def _three_digits(value: float) -> str:
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def _ratio(value: float | None) -> str:
    return _ABSENT if value is None else f"{value:.2f}"


def _text_table(table: Table) -> str:
    lines = [table.titles, *table.rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.titles))]
    last = len(widths) - 1

    def aligned(line: tuple[str, ...]) -> str:
        cells = [
            f"{cell:<{width}}" if i < table.words or i == last else f"{cell:>{width}}"
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    return "\n".join([table.heading, *map(aligned, lines)])


def _markdown_table(table: Table) -> str:
    last = len(table.titles) - 1
    rules = ["---" if i < table.words or i == last else "--:" for i in range(last + 1)]
    lines = [f"| {' | '.join(cells)} |" for cells in (table.titles, rules, *table.rows)]
    return "\n".join([f"### {table.heading}", "", *lines])
