"""Every shape, dtype, layout and operation beside torch and the memory limit, by `bnkit bench`.

For each bar it says whether it is met: geometric means over the batch norms of ResNet-50 and of
the three-conv network, single shapes, tiny ones included, and the first call of a process.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from pathlib import Path
from typing import Any

from bnkit.bench import BenchResult, BenchSettings, Row, render_markdown, run_bench
from bnkit.bench.progress import progress_for
from bnkit.bench.row import BNKIT

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bars import first_call_bars, row_bars, speed_bars
from first_call import first_call_rows
from result_rows import measured_on, write_rows

TINY = "tiny shapes"
TINY_SHAPES = (
    (2, 3, 2, 2),
    (4, 8, 1, 1),
    (8, 16),
    (32, 64),
    (64, 128),
    (256, 512),
    (16, 32, 8, 8),
    (1, 64, 14, 14),
    (8, 6, 31),
    (4, 24, 7, 7),
    (2, 8, 4, 6, 5),
    (64, 16, 8, 8),
    (32, 32, 16, 16),
)


def parts(seconds: float, compiles: bool) -> dict[str, BenchSettings]:
    """Return what is measured, by name; torch.compile only where the bars speak of it."""
    return {
        "float32": BenchSettings(seconds_per_case=seconds, compiles=compiles),
        "bfloat16": BenchSettings(
            dtypes=("bfloat16",), seconds_per_case=seconds / 2, compiles=False
        ),
        "float16 and float64": BenchSettings(
            dtypes=("float16", "float64"), seconds_per_case=seconds / 4, compiles=False
        ),
        "float32 in eval mode": BenchSettings(
            modes=("eval",),
            passes=("both", "forward"),
            seconds_per_case=seconds / 4,
            compiles=False,
        ),
        TINY: BenchSettings(
            shapes=TINY_SHAPES,
            dtypes=("float32", "bfloat16"),
            modes=("training", "eval"),
            seconds_per_case=seconds / 2,
            compiles=False,
        ),
    }


def report(results: dict[str, BenchResult], bars: list[dict[str, Any]]) -> str:
    """Return a page in Markdown: the bars, then each part's tables."""
    where = measured_on()
    lines = [
        "# CPU kernels beside torch",
        "",
        f"{where['machine']}; commit {where['commit']}; {where['date']}; written by `run.py`.",
        "",
        "| bar | required | measured | met |",
        "|---|---|--:|---|",
    ]
    lines += [
        f"| {each['bar']} | {each['required']} | {each['measured']} | "
        f"{'yes' if each['met'] else '**no**'} |"
        for each in bars
    ]
    for name, result in results.items():
        lines += ["", f"## {name}", "", render_markdown(result).rstrip()]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="folder for cpu_kernels.json and cpu_kernels.md")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each float32 case")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--part", action="append", help="measure this part alone; may be repeated")
    parser.add_argument("--first-call", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    chosen = parts(options.seconds, options.compile)
    for name in options.part or ():
        if name not in chosen:
            parser.error(f"--part takes {', '.join(chosen)}")
    results = {
        name: run_bench(settings, progress=progress_for(sys.stderr))
        for name, settings in chosen.items()
        if not options.part or name in options.part
    }
    first_calls = first_call_rows(repeats=3) if options.first_call else []
    rows = [row for result in results.values() for row in result.rows]
    # The means that the bars speak of run over the two networks' shapes.
    of_networks = [result for name, result in results.items() if name != TINY]
    bars = [bar for result in of_networks for bar in speed_bars(result.summaries)]
    bars += row_bars([row for row in rows if row.case.passes == "both"])
    bars += first_call_bars(first_calls)
    written = [{"first_call": row} for row in first_calls] + [{"bar": each} for each in bars]
    write_rows("bars", written, options.out)
    page = report(results, bars)
    if options.out is None:
        print(page)
        return
    for name, result in results.items():
        content = [{"summary": each.to_dict()} for each in result.summaries]
        content += [short_row(row) for row in result.rows]
        with contextlib.redirect_stdout(io.StringIO()):  # hundreds of lines
            write_rows(f"cpu_kernels_{name.replace(' ', '_')}", content, options.out)
    (options.out / "cpu_kernels.md").write_text(page, encoding="utf-8")


def short_row(row: Row) -> dict[str, Any]:
    """Return a row without what a reader of the ratios does not ask for."""
    content = {key: value for key, value in row.to_dict().items() if value not in (None, {})}
    errors = content.pop("error_ulps")
    worst = max(errors, key=lambda name: (errors[name][BNKIT] or 1e9) / errors[name]["allowed"])
    spreads = [key for key in content if key.endswith("_spread_ms")]
    for key in (*spreads, "kernel_reason"):
        content.pop(key)
    quartiles = row.spread(BNKIT)
    if quartiles is not None:
        content["bnkit_quartiles_ms"] = [quartiles.low_quartile, quartiles.high_quartile]
    return content | {"largest_error_ulps": {"of": worst, **errors[worst]}}


if __name__ == "__main__":
    main()
