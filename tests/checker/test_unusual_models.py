"""Models that are no plain modules: scripted, compiled, exported, or ending the process."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

import bnkit
from bnkit.errors import CheckError, ForwardError
from helpers.rule_case import conv_net, images


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("look", [bnkit.check, bnkit.describe], ids=["check", "describe"])
def test_torchscript_is_refused_with_its_path(look: object) -> None:
    scripted = torch.jit.script(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)))
    assert callable(look)
    with pytest.raises(CheckError, match=r"^1: is TorchScript"):
        look(nn.Sequential(nn.Identity(), scripted))


def test_a_compiled_model_is_not_compiled_anew() -> None:
    compiled: list[object] = []

    def backend(graph: torch.fx.GraphModule, _: object) -> object:
        compiled.append(graph)
        return graph

    model = torch.compile(conv_net(bias=True), backend=backend)
    report = bnkit.check(model, images(), data=images())
    assert "BN401" in {finding.code for finding in report.findings}
    assert not compiled
    model(images())
    assert compiled


def test_an_exported_program_is_traced_in_its_mode() -> None:
    exported = torch.export.export(conv_net().eval(), (images(),)).module()
    report = bnkit.check(exported, images())
    assert report.exit_code == 0


def test_a_forward_that_ends_the_process_is_a_forward_that_raised() -> None:
    class Ends(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise SystemExit(3)

    with pytest.raises(ForwardError, match="SystemExit"):
        bnkit.check(nn.Sequential(Ends(), nn.BatchNorm2d(3)), images())


def test_a_dtype_that_there_is_none_of() -> None:
    with pytest.raises(CheckError, match="target_dtype is 'zz'"):
        bnkit.check(conv_net(), target_dtype="zz")


def test_python_dash_m_runs_the_command_line() -> None:
    command = [sys.executable, "-m", "bnkit", "rule", "BN999"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "there is no rule 'BN999'" in done.stderr
