"""`bnkit bench` as a person or a program calls it."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from bnkit.cli.bench import bench
from bnkit.errors import ArgumentError

app = typer.Typer(rich_markup_mode=None)
app.command("bench")(bench)
app.command("other")(lambda: None)  # one command more, so that `bench` is named as in bnkit

TINY = ("--shapes", "4x3x5x6", "--operation", "bn-relu", "--layout", "contiguous", "--rounds", "2")


def call(*arguments):
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


def test_text_with_progress_on_the_other_stream():
    result = call(*TINY, "--no-compile")
    assert result.exit_code == 0, result.output
    assert "bn-relu, float32, contiguous, training, forward + backward" in result.stdout
    assert re.search(r"^4x3x5x6 +[\d.]+ +±\d+%", result.stdout, flags=re.MULTILINE)
    assert "geometric means over shapes" in result.stdout
    assert result.stderr.startswith("1/1 4x3x5x6 bn-relu float32 contiguous training: ")


def test_json_prints_nothing_else():
    result = call(*TINY, "--no-compile", "--format", "json", "--mode", "eval", "--pass", "forward")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    (row,) = json.loads(result.stdout)["rows"]
    wanted = {"shape", "layout", "dtype", "operation", "bnkit_ms", "torch_ms", "compile_ms"}
    wanted |= {"limit_ms", "limit_reused_ms", "vs_torch", "vs_compile", "vs_limit"}
    assert wanted <= row.keys()
    assert (row["mode"], row["pass"], row["rounds"]) == ("eval", "forward", 2)


def test_out_has_both_forms(tmp_path):
    folder = tmp_path / "new" / "folder"
    result = call(*TINY, "--no-compile", "--quiet", "--out", folder)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert len(json.loads((folder / "bench.json").read_text("utf-8"))["rows"]) == 1
    assert "| 4x3x5x6 |" in (folder / "bench.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--layout", "nhwc"), "--layout got 'nhwc'; it takes contiguous, channels-last"),
        (("--shapes", "8x16", "--shapes", "big"), "--shapes got 'big'"),
        (("--threads", "0"), "--threads got 0"),
    ],
)
def test_a_mistake_is_one_message(arguments, message):
    result = call(*arguments)
    assert isinstance(result.exception, ArgumentError)
    assert message in str(result.exception)
    assert result.stdout == ""


def test_a_folder_that_cannot_be_made_is_found_before_anything_is_measured(tmp_path):
    (tmp_path / "file").write_text("")
    result = call(*TINY, "--out", tmp_path / "file" / "folder")
    assert isinstance(result.exception, ArgumentError)
    assert "it must be a folder that can be written to" in str(result.exception)


def test_no_whole_number_is_a_usage_error():
    result = call("--rounds", "many")
    assert result.exit_code == 2
    assert "Invalid value for '--rounds'" in result.stderr


def test_a_mistake_ends_with_exit_code_2_and_no_traceback():
    code = "from bnkit.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "bench", "--dtype", "float31"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "bnkit: --dtype got 'float31'; it takes float32, bfloat16, float16, float64. "
        "Did you mean 'float32'?\n"
    )


def test_wrong_results_are_exit_code_1(monkeypatch):
    monkeypatch.setattr("bnkit.bench.validation.ULPS", 0)
    monkeypatch.setattr("bnkit.bench.validation.TIMES_TORCH", 0)
    result = call(*TINY, "--no-compile")
    assert result.exit_code == 1
    assert "WRONG" in result.stdout
    assert "wrong results" in result.stderr


def test_the_command_s_module_loads_neither_torch_nor_numpy():
    code = "import sys, bnkit.cli.bench; print({'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "set()"
