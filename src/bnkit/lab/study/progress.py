"""Progress of long work: a bar with time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Protocol, TextIO


class Progress(Protocol):
    """What a run reports while it works."""

    def announce(self, text: str) -> None:
        """Tell what is being done before training starts."""

    def start(self, trials: int, stored: int, steps: int) -> None:
        """Tell how many trials will be trained, how many are stored, and the optimizer steps."""

    def update(self, steps: int) -> None:
        """Tell how many optimizer steps have been taken, over all trials."""

    def trial_finished(self, line: str) -> None:
        """Tell that a trial is stored."""

    def stop(self) -> None:
        """Leave the terminal as it was; called in any case."""


class Silent:
    """Reports nothing."""

    def announce(self, text: str) -> None:
        """Report nothing."""

    def start(self, trials: int, stored: int, steps: int) -> None:
        """Report nothing."""

    def update(self, steps: int) -> None:
        """Report nothing."""

    def trial_finished(self, line: str) -> None:
        """Report nothing."""

    def stop(self) -> None:
        """Report nothing."""


class PlainLines:
    """One line when training starts and one for each finished trial, with the time left."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self.stream, self.clock = stream, clock
        self.trials = self.finished = self.steps = self.total = 0
        self.started = 0.0

    def announce(self, text: str) -> None:
        """Print what is being done."""
        print(text, file=self.stream, flush=True)

    def start(self, trials: int, stored: int, steps: int) -> None:
        """Print how much there is to do."""
        self.trials, self.total, self.started = trials, steps, self.clock()
        kept = f", {stored} already stored" if stored else ""
        print(f"training {trials} trials{kept}", file=self.stream, flush=True)

    def update(self, steps: int) -> None:
        """Remember the steps taken, from which the time left is estimated."""
        self.steps = steps

    def trial_finished(self, line: str) -> None:
        """Print the trial's line."""
        self.finished += 1
        left = ""
        if 0 < self.steps < self.total:
            seconds = (self.clock() - self.started) * (self.total - self.steps) / self.steps
            left = f", about {format_seconds(seconds)} left"
        print(f"{self.finished}/{self.trials} {line}{left}", file=self.stream, flush=True)

    def stop(self) -> None:
        """Print nothing: every line is complete."""


class Bar:
    """A bar over optimizer steps with the time left; finished trials scroll above it."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self.display = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=Console(file=stream),
            transient=True,
        )
        self.trials = self.finished = 0

    def announce(self, text: str) -> None:
        """Print what is being done."""
        self.display.console.print(text, highlight=False, markup=False)

    def start(self, trials: int, stored: int, steps: int) -> None:
        """Show the empty bar."""
        if stored:
            self.announce(f"{stored} trials are already stored")
        self.trials = trials
        self.task = self.display.add_task(f"trial 0/{trials}", total=steps)
        self.display.start()

    def update(self, steps: int) -> None:
        """Move the bar."""
        self.display.update(self.task, completed=steps)

    def trial_finished(self, line: str) -> None:
        """Print the trial's line above the bar."""
        self.finished += 1
        self.display.update(self.task, description=f"trial {self.finished}/{self.trials}")
        self.display.console.print(line, highlight=False, markup=False)

    def stop(self) -> None:
        """Take the bar away."""
        self.display.stop()


def progress_for(stream: TextIO = sys.stderr) -> Progress:
    """Return a bar if the stream is a terminal, else plain lines."""
    return Bar(stream) if stream.isatty() else PlainLines(stream)


def format_seconds(seconds: float) -> str:
    """Return a duration in words: 8 s, 3 min 20 s, 1 h 5 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
