from __future__ import annotations

import io

import pytest

from bnkit.lab.study.progress import Bar, PlainLines, Silent, format_seconds, progress_for


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_plain_lines_estimate_the_time_left_from_the_steps_taken() -> None:
    stream, clock = io.StringIO(), Clock()
    lines = PlainLines(stream, clock)
    lines.announce("reading data: digits")
    lines.start(trials=2, stored=3, steps=400)
    clock.now = 10
    lines.update(100)
    lines.trial_finished("with, seed 0")
    lines.update(400)
    lines.trial_finished("with, seed 1")
    lines.stop()
    assert stream.getvalue().splitlines() == [
        "reading data: digits",
        "training 2 trials, 3 already stored",
        "1/2 with, seed 0, about 30 s left",
        "2/2 with, seed 1",
    ]


def test_a_stream_that_is_no_terminal_gets_plain_lines() -> None:
    assert isinstance(progress_for(io.StringIO()), PlainLines)

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert isinstance(progress_for(Terminal()), Bar)


def test_silence_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    silent = Silent()
    silent.announce("x")
    silent.start(1, 0, 1)
    silent.update(1)
    silent.trial_finished("x")
    silent.stop()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (8.26, "8.3 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (200, "3 min 20 s"),
        (3900, "1 h 5 min"),
    ],
)
def test_durations_in_words(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
