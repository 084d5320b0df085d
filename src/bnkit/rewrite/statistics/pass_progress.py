"""Progress of passes over data: a bar with the time left on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class PassProgress:
    """Tells of passes over batches.

    Args:
        shown: whether anything is printed; None: on a terminal.
    """

    def __init__(self, shown: bool | None) -> None:
        stream = sys.stderr
        self._has_bar = shown is not False and stream.isatty()
        self._has_lines = bool(shown) and not self._has_bar
        self._display: Any = None
        self._task: Any = None

    @contextmanager
    def opened(self) -> Iterator[PassProgress]:
        """Show the bar, and take it away afterwards."""
        if self._has_bar:
            self._display = _display()
            self._display.start()
        try:
            yield self
        finally:
            if self._display is not None:
                self._display.stop()
                self._display = None

    def announce(self, text: str) -> None:
        """Tell what is going to be done."""
        if self._display is not None:
            self._display.console.print(text, highlight=False, markup=False)
        elif self._has_lines:
            _print(text)

    def start(self, text: str, batches: int | None) -> None:
        """Begin to count: batches of all passes together, None if nobody knows."""
        if self._display is not None:
            self._task = self._display.add_task(text, total=batches)
        elif self._has_lines and text:
            _print(text)

    def name(self, text: str) -> None:
        """Tell what the pass is for that begins."""
        if self._display is not None:
            self._display.update(self._task, description=text)
        elif self._has_lines:
            _print(text)

    def advance(self) -> None:
        """Tell that a batch is done."""
        if self._display is not None:
            self._display.advance(self._task)


def _print(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _display() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        transient=True,
    )
