"""A bench: every case of the settings, measured; and its result as data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch

from bnkit.bench.cases import BenchSettings
from bnkit.bench.machine import machine
from bnkit.bench.measurement import PeerMaker, measure
from bnkit.bench.peers import bnkit_peer
from bnkit.bench.progress import Progress, Silent
from bnkit.bench.row import Row
from bnkit.bench.summary import LARGE_MIB, Summary, summarize

FORMAT_VERSION = 1


@dataclass(frozen=True)
class BenchResult:
    """What was measured, where, and with which settings.

    Args:
        settings: what was asked for.
        threads: torch's threads during the run.
        machine: processor, system, versions.
        rows: one for each case.
        was_interrupted: whether cases are missing because the run was told to end.
    """

    settings: BenchSettings
    threads: int
    machine: dict[str, Any]
    rows: tuple[Row, ...]
    was_interrupted: bool = False

    @cached_property
    def summaries(self) -> list[Summary]:
        """Geometric means for each operation, layout, dtype, mode and pass."""
        return summarize(self.rows)

    @property
    def is_right(self) -> bool:
        """Whether bnkit's results passed the validation on every case."""
        return not any(row.refusal for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON has it."""
        settings = asdict(self.settings)
        settings["passes"] = list(settings["passes"])
        return {
            "format_version": FORMAT_VERSION,
            "machine": self.machine,
            "threads": self.threads,
            "settings": settings,
            "large_mib": LARGE_MIB,
            "was_interrupted": self.was_interrupted,
            "summaries": [summary.to_dict() for summary in self.summaries],
            "rows": [row.to_dict() for row in self.rows],
        }


def run_bench(
    settings: BenchSettings | None = None,
    *,
    progress: Progress | None = None,
    implementation: PeerMaker = bnkit_peer,
) -> BenchResult:
    """Measure every case, side by side with torch; Ctrl-C ends the run and keeps what it has.

    vs_torch = torch's time / bnkit's, vs_limit = bnkit's time / that of the unavoidable copies;
    each the median over rounds of the two times of one round.

    Args:
        settings: what to measure; None: the defaults.
        progress: told what is going on.
        implementation: what stands for bnkit; another one tries out the validation.
    """
    settings = settings or BenchSettings()
    progress = progress or Silent()
    cases = list(settings.cases())
    rows: list[Row] = []
    was_interrupted = False
    with _torch_threads(settings.threads):
        progress.start(len(cases))
        try:
            for case in cases:
                progress.begin(str(case))
                rows.append(measure(case, settings, implementation=implementation))
                progress.finish(rows[-1])
        except KeyboardInterrupt:
            was_interrupted = True
        finally:
            progress.stop()
        threads = torch.get_num_threads()
    return BenchResult(settings, threads, machine(), tuple(rows), was_interrupted)


@contextmanager
def _torch_threads(threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
