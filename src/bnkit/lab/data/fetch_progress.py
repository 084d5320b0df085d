"""Progress of downloads: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from typing import Any, Protocol, TextIO

_MEGABYTE = 1e6


class Bar(Protocol):
    """What pooch moves while it downloads."""

    total: int

    def update(self, count: int) -> None:
        """Tell that so many more bytes are there."""

    def reset(self) -> None:
        """Go back to the beginning; pooch then tells the whole at once."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class FetchProgress(Protocol):
    """What `fetch` reports."""

    def started(self, name: str, address: str) -> None:
        """Tell that a file is being downloaded."""

    def bar(self) -> Any:
        """Return a `Bar` for the download, or False for none."""

    def failed(self, reason: str) -> None:
        """Tell that a mirror did not give the file."""

    def finished(self, name: str, size: int) -> None:
        """Tell that a file is in place; its size in bytes."""

    def stop(self) -> None:
        """Leave the terminal as it was; called after each download in any case."""


class SilentFetch:
    """Reports nothing."""

    def started(self, name: str, address: str) -> None:
        """Report nothing."""

    def bar(self) -> Any:
        """Return False: no bar."""
        return False

    def failed(self, reason: str) -> None:
        """Report nothing."""

    def finished(self, name: str, size: int) -> None:
        """Report nothing."""

    def stop(self) -> None:
        """Report nothing."""


class FetchLines(SilentFetch):
    """One line when a download starts, fails and is finished; on a terminal a bar as well."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._name = ""
        self._bar: _TerminalBar | None = None

    def started(self, name: str, address: str) -> None:
        """Print what is downloaded and from where."""
        self._name = name
        self._print(f"downloading {address}")

    def bar(self) -> Any:
        """Return a bar if the stream is a terminal, else False."""
        if not self._stream.isatty():
            return False
        self._bar = _TerminalBar(self._stream, self._name)
        return self._bar

    def failed(self, reason: str) -> None:
        """Print why a mirror did not give the file."""
        self._print(f"failed: {reason}")

    def finished(self, name: str, size: int) -> None:
        """Print that a file is in place."""
        self._print(f"{name}: {size / _MEGABYTE:.1f} MB, the official content")

    def stop(self) -> None:
        """Take the bar away: pooch leaves it where a download breaks off."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _print(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


class _TerminalBar:
    """A bar of rich, moved as pooch moves tqdm's."""

    def __init__(self, stream: TextIO, name: str) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self.total = 0
        self._done = 0
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TimeRemainingColumn(),
            console=Console(file=stream),
            transient=True,
        )
        self._task = self._progress.add_task(name, total=None)
        self._progress.start()

    def update(self, count: int) -> None:
        """Move on by so many bytes."""
        # pooch counts whole chunks, also of the last one.
        self._done = min(self._done + count, self.total or self._done + count)
        self._progress.update(self._task, total=self.total or None, completed=self._done)

    def reset(self) -> None:
        """Go back to the beginning."""
        self._done = 0

    def close(self) -> None:
        """Take the bar away."""
        self._progress.stop()
