"""Progress of passes: a bar on a terminal, lines or nothing elsewhere, and nothing on stdout."""

from __future__ import annotations

import io

import pytest
import torch
from torch import nn

import bnkit

BATCHES = [torch.randn(4, 2) for _ in range(3)]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("sequential", [False, True])
def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, sequential: bool) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    model = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2))
    bnkit.recalibrate(model, BATCHES, sequential=sequential)
    printed = terminal.getvalue()
    assert ("6/6" if sequential else "3/3") in printed
    assert ("2 layers, 2 passes over the data" in printed) is sequential
    terminal.truncate(0)
    bnkit.recalibrate(model, BATCHES, sequential=sequential, progress=False)
    assert not terminal.getvalue().strip("\0")


def test_elsewhere_lines_if_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    model = nn.Sequential(nn.BatchNorm1d(2))
    bnkit.recalibrate(model, BATCHES)
    assert not capsys.readouterr().err
    bnkit.adapt(model, BATCHES, weight=1, progress=True)
    printed = capsys.readouterr()
    assert printed.err == "passing over the data\n"
    assert not printed.out
