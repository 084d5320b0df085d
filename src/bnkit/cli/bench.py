"""`bnkit bench`: this machine, side by side with torch, as ratios."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnkit.cli.output_format import FormatOption, OutputFormat, print_json, print_text
from bnkit.errors import ArgumentError

if TYPE_CHECKING:
    from bnkit.bench import BenchResult

WRONG_RESULTS = 1
INTERRUPTED = 130

Texts = list[str] | None
_SEVERAL = "several with commas, or the option again"


def bench(
    shapes: Annotated[
        Texts,
        typer.Option(
            metavar="SHAPES",
            help="Such as 32x64x56x56, or resnet50 (its batch norms at batch 32), or three-conv "
            f"(the lab's network at batch 256); {_SEVERAL}. Default: resnet50,three-conv.",
        ),
    ] = None,
    dtype: Annotated[
        Texts,
        typer.Option(
            metavar="NAMES", help="float32 (default), bfloat16, float16, float64; likewise."
        ),
    ] = None,
    layout: Annotated[
        Texts,
        typer.Option(metavar="NAMES", help="contiguous, channels-last; likewise. Default: both."),
    ] = None,
    operation: Annotated[
        Texts,
        typer.Option(metavar="NAMES", help="bn, bn-relu, bn-add-relu; likewise. Default: all."),
    ] = None,
    mode: Annotated[
        Texts, typer.Option(metavar="NAMES", help="training (default), eval; likewise.")
    ] = None,
    passes: Annotated[
        Texts,
        typer.Option(
            "--pass",
            metavar="NAMES",
            help="both (default): forward and backward; forward: alone, without autograd.",
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(metavar="N", help="torch's threads. Default: torch's own.")
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Times each is measured. Default: what fits into 0.6 s a case, 5 to 40.",
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Five shapes, fewer rounds, and no torch.compile.")
    ] = False,
    compiles: Annotated[
        bool | None,
        typer.Option("--compile/--no-compile", help="Whether torch.compile is measured too."),
    ] = None,
    cold: Annotated[
        bool,
        typer.Option("--cold", help="Leave out the untimed call before each timed one."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also write bench.json and bench.md here.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print no progress.")] = False,
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """This machine: bnkit side by side with torch and with the speed of memory, as ratios.

    What is wrong is not timed: each implementation is first held against a float64 reference.
    """
    from bnkit.bench.options import read_settings

    settings = read_settings(
        shapes=shapes or (),
        dtypes=dtype or (),
        layouts=layout or (),
        operations=operation or (),
        modes=mode or (),
        passes=passes or (),
        threads=threads,
        rounds=rounds,
        quick=quick,
        compiles=compiles,
        cold=cold,
    )
    if out is not None:
        _make_folder(out)

    from bnkit.bench import render_text, run_bench
    from bnkit.bench.progress import Silent, progress_for

    is_silent = quiet or output_format is OutputFormat.JSON
    result = run_bench(settings, progress=Silent() if is_silent else progress_for(sys.stderr))
    if out is not None:
        _write(result, out)
    if output_format is OutputFormat.JSON:
        print_json(result.to_dict())
    elif result.rows:
        print_text(render_text(result))
    _exit(result)


def _exit(result: BenchResult) -> None:
    if result.was_interrupted:
        typer.echo("bnkit: interrupted", err=True)
        raise typer.Exit(INTERRUPTED)
    if not result.is_right:
        typer.echo("bnkit: wrong results, see what is absent", err=True)
        raise typer.Exit(WRONG_RESULTS)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArgumentError(
            f"--out got {str(folder)!r}, and {error.strerror or error}",
            required="it must be a folder that can be written to",
        ) from error


def _write(result: BenchResult, folder: Path) -> None:
    from bnkit.bench import render_markdown

    text = json.dumps(result.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "bench.json").write_text(f"{text}\n", encoding="utf-8")
    (folder / "bench.md").write_text(render_markdown(result), encoding="utf-8")
