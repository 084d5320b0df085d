"""`bnkit explain` as a person or a program calls it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from bnkit.cli.explain import explain
from bnkit.errors import ArgumentError, BnkitError

app = typer.Typer()
app.command("explain")(explain)
app.command("other")(lambda: None)  # one command more, so that `explain` is named as in bnkit


def call(*arguments, given=None):
    return CliRunner().invoke(app, ["explain", *map(str, arguments)], input=given)


def test_without_input_the_example_in_red_green_and_blue():
    result = call()
    assert result.exit_code == 0
    assert "x has shape (2, 3, 3, 3)" in result.stdout
    assert "channel 0 (red)" in result.stdout
    assert "They agree" in result.stdout
    assert "\x1b" not in result.stdout


def test_json_of_a_file_equals_torch(tmp_path):
    x = np.random.default_rng(0).normal(size=(4, 3, 5, 6))
    path = tmp_path / "batch.json"
    path.write_text(json.dumps(x.tolist()))
    result = call("--input", path, "--format", "json")
    numbers = json.loads(result.stdout)
    layer = torch.nn.BatchNorm2d(3, dtype=torch.float64)
    y = layer(torch.tensor(x)).detach()
    for name, expected in {
        "y": y,
        "x_hat": y,
        "mean": torch.tensor(x).mean((0, 2, 3)),
        "var": torch.tensor(x).var((0, 2, 3), correction=0),
        "running_mean": layer.running_mean,
        "running_var": layer.running_var,
    }.items():
        torch.testing.assert_close(torch.tensor(numbers[name], dtype=torch.float64), expected)
    inference = torch.tensor(numbers["inference"]["y"], dtype=torch.float64)
    torch.testing.assert_close(inference, layer.eval()(torch.tensor(x)).detach())


def test_standard_input():
    result = call("--input", "-", "--format", "json", given="[[1], [3]]")
    assert json.loads(result.stdout)["mean"] == [2.0]
    assert "(red)" not in call("--input", "-", given="[[1], [3]]").stdout


def test_options_override_the_file():
    content = json.dumps({"x": [[1], [3]], "eps": 0.5, "momentum": 0.5, "weight": [2]})
    options = ("--input", "-", "--format", "json")
    numbers = json.loads(call(*options, given=content).stdout)
    assert (numbers["eps"], numbers["momentum"]) == (0.5, 0.5)
    numbers = json.loads(call(*options, "--eps", 3, "--momentum", 1, given=content).stdout)
    assert (numbers["eps"], numbers["momentum"], numbers["weight"]) == (3.0, 1.0, [2.0])
    assert numbers["y"] == [[-1.0], [1.0]]
    assert numbers["running_mean"] == [2.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--eps", "0"), "got eps = 0.0; it must be a finite number above 0"),
        (("--eps", "nan"), "got eps = nan"),
        (("--momentum", "1.5"), "got momentum = 1.5; it must lie between 0 and 1"),
        (("--input", "none.json"), "none.json: the file cannot be read"),
    ],
)
def test_a_mistake_is_one_message(arguments, message):
    result = call(*arguments)
    assert isinstance(result.exception, BnkitError)
    assert message in str(result.exception)
    assert result.stdout == ""


def test_options_out_of_range_are_argument_errors():
    assert isinstance(call("--eps", "-1").exception, ArgumentError)


def test_unknown_format_is_a_usage_error():
    result = call("--format", "yaml")
    assert result.exit_code == 2
    assert "yaml" in result.stderr


def run_bnkit(*arguments, given="", encoding="utf-8"):
    """Run the installed program's `main` in a pipe, as a shell would."""
    return subprocess.run(
        [sys.executable, "-c", "from bnkit.cli.main import main; main()", "explain", *arguments],
        input=given.encode(),
        capture_output=True,
        check=False,
        env=os.environ | {"PYTHONIOENCODING": encoding, "FORCE_COLOR": "1"},
        timeout=120,
    )


def test_a_pipe_that_takes_only_ascii_gets_ascii():
    done = run_bnkit(encoding="ascii")
    assert done.returncode == 0, done.stderr
    assert b"x_hat = (x - mean) * invstd" in done.stdout
    assert done.stdout.isascii()
    assert b"?" not in done.stdout
    assert b"\x1b" not in done.stdout
    assert done.stderr == b""


def test_a_mistake_ends_with_exit_code_2_and_no_traceback():
    done = run_bnkit("--input", "-", "--format", "json", given="[[1, 2], [3]]")
    assert done.returncode == 2
    assert done.stdout == b""
    message = done.stderr.decode()
    assert "standard input: x[1] is a list of 1, and x[0] is a list of 2" in message
    assert "Traceback" not in message
    assert message.count("\n") == 1


def test_the_command_s_module_loads_neither_torch_nor_numpy():
    code = "import sys, bnkit.cli.explain; print({'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "set()"


def test_html_writes_a_page_with_the_numbers_of_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = call("--html", "--input", "-", "--eps", "0.25", given="[[1, 10], [3, 20.5]]")
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "explain.html: open it in a browser" in result.stderr
    page = (tmp_path / "explain.html").read_text("utf-8")
    assert '"values":[1.0,10.0,3.0,20.5]' in page
    assert '"eps":0.25' in page
    assert call("--html", "new/page.html").exit_code == 0
    assert '"names":["red","green","blue"]' in (tmp_path / "new" / "page.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("batch.json",), "only --html takes one.*Give --input batch.json"),
        (("--html", "page.html", "--format", "json"), "one or the other"),
        (("--html", "."), "cannot write the page"),
    ],
)
def test_html_and_what_does_not_go_with_it(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = call(*arguments)
    assert isinstance(result.exception, BnkitError)
    assert re.search(message, str(result.exception), re.S)
    assert list(tmp_path.iterdir()) == []
