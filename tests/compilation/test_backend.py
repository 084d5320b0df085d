"""The backend's options, its reports, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._dynamo.exc import BackendCompilerFailed

import bnkit
from bnkit.compilation import graph_report


def model() -> nn.Module:
    return nn.Sequential(nn.BatchNorm1d(3), nn.ReLU(), nn.BatchNorm1d(3), nn.SiLU())


def test_a_report_says_what_was_done() -> None:
    torch.compile(model(), backend="bnkit")(torch.randn(8, 3))
    [report] = bnkit.compile_reports()
    lines = str(report).splitlines()
    assert lines[:4] == [
        "graph 0/0: 2 of 2 batch norms computed by bnkit",
        "  0: batch norm + relu in one call",
        "  2: batch norm",
        "  2: the silu that follows is not fused: no kernel does",
    ]
    assert lines[4].startswith("  checked on the example inputs: outputs, buffers and gradients")


def test_reports_can_be_forgotten_and_are_bounded() -> None:
    torch.compile(model(), backend="bnkit")(torch.randn(8, 3))
    [report] = bnkit.compile_reports(clear=True)
    assert bnkit.compile_reports() == ()
    for _ in range(graph_report.KEPT + 5):
        graph_report.keep(report)
    assert len(bnkit.compile_reports()) == graph_report.KEPT


def test_a_graph_without_batch_norm_runs_as_it_is() -> None:
    layer = nn.Linear(3, 2)
    x = torch.randn(4, 3)
    torch.testing.assert_close(torch.compile(layer, backend="bnkit")(x), layer(x))
    [report] = bnkit.compile_reports()
    assert str(report) == "graph 0/0: no batch norm"


def test_the_check_can_be_left_out() -> None:
    torch.compile(model(), backend="bnkit", options={"check": False})(torch.randn(8, 3))
    [report] = bnkit.compile_reports()
    assert report.is_rewritten
    assert report.check == "not checked: options said so"


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"options": {"chek": False}}, r"no option 'chek'; .* Did you mean 'check'\?"),
        ({"options": {"check": 1}}, "got check=1; it must be True or False"),
        ({"mode": "max-autotune"}, "got mode='max-autotune'; .* has no modes"),
    ],
)
def test_what_the_backend_does_not_take_is_refused(keywords: Any, message: str) -> None:
    compiled = torch.compile(model(), backend="bnkit", **keywords)
    with pytest.raises(BackendCompilerFailed, match=message):
        compiled(torch.randn(8, 3))


def test_asking_for_reports_loads_no_compiler() -> None:
    code = "import sys, bnkit; bnkit.compile_reports(); print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_models_with_own_layers_and_the_guide() -> None:
    program = Path(__file__).with_name("own_layers.py")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "all as said\n"
