"""What a bench says while it works."""

from __future__ import annotations

import io

from bench.rows import row_of
from bnkit.bench.progress import Bar, PlainLines, progress_for


class Terminal(io.StringIO):
    def isatty(self):
        return True


def drive(progress):
    progress.start(2)
    progress.begin("32x64x56x56 bn")
    progress.finish(row_of(bnkit=[1.0], torch=[2.0]))
    progress.finish(row_of(torch=[2.0], absent={"bnkit": "wrong: y"}))
    progress.stop()


def test_plain_lines_where_there_is_no_terminal():
    stream = io.StringIO()
    progress = progress_for(stream)
    assert isinstance(progress, PlainLines)
    drive(progress)
    assert stream.getvalue().splitlines() == [
        "1/2 32x64x56x56 bn-relu float32 contiguous training: 2.00 times torch's speed",
        "2/2 32x64x56x56 bn-relu float32 contiguous training: wrong: y",
    ]


def test_a_bar_on_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    progress = progress_for(stream)
    assert isinstance(progress, Bar)
    drive(progress)
    assert "32x64x56x56 bn" in stream.getvalue()
