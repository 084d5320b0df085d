"""Progress of a bench: a bar with time left on a terminal, a line for each case elsewhere."""

from __future__ import annotations

from typing import Protocol, TextIO

from bnkit.bench.row import Row


class Progress(Protocol):
    """What a bench reports while it works."""

    def start(self, cases: int) -> None:
        """Tell how many cases there are."""

    def begin(self, text: str) -> None:
        """Tell which case is measured now."""

    def finish(self, row: Row) -> None:
        """Tell that a case is measured."""

    def stop(self) -> None:
        """Leave the terminal as it was; called in any case."""


class Silent:
    """Reports nothing."""

    def start(self, cases: int) -> None:
        """Report nothing."""

    def begin(self, text: str) -> None:
        """Report nothing."""

    def finish(self, row: Row) -> None:
        """Report nothing."""

    def stop(self) -> None:
        """Report nothing."""


class PlainLines:
    """One line for each case that is measured."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._cases = self._finished = 0

    def start(self, cases: int) -> None:
        """Remember how many cases there are."""
        self._cases = cases

    def begin(self, text: str) -> None:
        """Print nothing."""

    def finish(self, row: Row) -> None:
        """Print the case and its ratio."""
        self._finished += 1
        said = row.refusal if row.vs_torch is None else f"{row.vs_torch:.2f} times torch's speed"
        print(f"{self._finished}/{self._cases} {row.case}: {said}", file=self._stream, flush=True)

    def stop(self) -> None:
        """Print nothing: every line is complete."""


class Bar:
    """A bar over cases with the time left and the case that is measured now."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._display = RichProgress(
            MofNCompleteColumn(),
            BarColumn(bar_width=20),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
            console=Console(file=stream),
            transient=True,
            # Drawing while a case is timed would take a processor from it.
            auto_refresh=False,
        )

    def start(self, cases: int) -> None:
        """Show the empty bar."""
        self._task = self._display.add_task("", total=cases)
        self._display.start()

    def begin(self, text: str) -> None:
        """Show which case is measured."""
        self._display.update(self._task, description=text, refresh=True)

    def finish(self, row: Row) -> None:  # noqa: ARG002 - the bar tells time, not results
        """Move the bar."""
        self._display.advance(self._task)

    def stop(self) -> None:
        """Take the bar away."""
        self._display.stop()


def progress_for(stream: TextIO) -> Progress:
    """Return a bar if the stream is a terminal, else plain lines."""
    return Bar(stream) if stream.isatty() else PlainLines(stream)
