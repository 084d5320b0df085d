from __future__ import annotations

import io

from bnkit.lab.data.fetch_progress import FetchLines


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def download(progress: FetchLines) -> None:
    """Do what `fetch` and pooch do."""
    progress.started("a.gz", "https://example.org/a.gz")
    bar = progress.bar()
    if bar:
        bar.total = 1_500_000
        for _ in range(3):
            bar.update(2**19)
        bar.reset()
        bar.update(bar.total)
        bar.close()
    progress.stop()


def test_lines_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    progress = FetchLines(stream)
    download(progress)
    progress.failed("https://example.org/a.gz answered 404")
    progress.finished("a.gz", 1_500_000)
    assert stream.getvalue() == (
        "downloading https://example.org/a.gz\n"
        "failed: https://example.org/a.gz answered 404\n"
        "a.gz: 1.5 MB, the official content\n"
    )


def test_a_bar_on_a_terminal_and_the_cursor_comes_back() -> None:
    stream = Terminal()
    progress = FetchLines(stream)
    download(progress)
    shown = stream.getvalue()
    assert "1.5/1.5 MB" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


def test_a_bar_left_open_is_closed() -> None:
    stream = Terminal()
    progress = FetchLines(stream)
    progress.started("a.gz", "https://example.org/a.gz")
    progress.bar().update(10)
    progress.stop()
    progress.stop()
    assert stream.getvalue().count("\x1b[?25h") == stream.getvalue().count("\x1b[?25l")
