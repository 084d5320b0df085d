"""Side-by-side timings of bnkit, torch and the memory limit, validated before they are timed."""

from typing import TYPE_CHECKING

from bnkit._lazy import attach

if TYPE_CHECKING:
    from bnkit.bench.bench_run import BenchResult as BenchResult
    from bnkit.bench.bench_run import run_bench as run_bench
    from bnkit.bench.cases import RESNET50_SHAPES as RESNET50_SHAPES
    from bnkit.bench.cases import THREE_CONV_SHAPES as THREE_CONV_SHAPES
    from bnkit.bench.cases import BenchSettings as BenchSettings
    from bnkit.bench.cases import Case as Case
    from bnkit.bench.options import read_settings as read_settings
    from bnkit.bench.render import render_markdown as render_markdown
    from bnkit.bench.render import render_text as render_text
    from bnkit.bench.row import Row as Row
    from bnkit.bench.summary import Summary as Summary
    from bnkit.bench.summary import geometric_mean as geometric_mean
    from bnkit.bench.summary import summarize as summarize

__getattr__, __dir__ = attach(
    __name__,
    {
        "BenchResult": "bnkit.bench.bench_run",
        "BenchSettings": "bnkit.bench.cases",
        "Case": "bnkit.bench.cases",
        "RESNET50_SHAPES": "bnkit.bench.cases",
        "Row": "bnkit.bench.row",
        "Summary": "bnkit.bench.summary",
        "THREE_CONV_SHAPES": "bnkit.bench.cases",
        "geometric_mean": "bnkit.bench.summary",
        "read_settings": "bnkit.bench.options",
        "render_markdown": "bnkit.bench.render",
        "render_text": "bnkit.bench.render",
        "run_bench": "bnkit.bench.bench_run",
        "summarize": "bnkit.bench.summary",
    },
)
