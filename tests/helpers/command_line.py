"""The command line, run in the tests' process."""

from __future__ import annotations

import sys

import pytest

from bnkit.cli.main import main


class Bnkit:
    """Runs the command line in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        self.monkeypatch.setattr(sys, "argv", ["bnkit", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = self.capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err
