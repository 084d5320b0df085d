"""The command line as a person meets it: output, messages, exit codes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bnkit import __version__
from bnkit.cli.main import main
from helpers.command_line import Bnkit

SMALL = """
[study]
name = "small"
question = "Does it run?"
[data]
name = "digits"
[network]
name = "dense"
args = { hidden = [8] }
[training]
epochs = 1
optimizer = { name = "sgd", lr = 0.1 }
[grid]
seed = [0, 1, 2]
[profiles.quick]
grid = { seed = [0] }
"""


@pytest.fixture
def bnkit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Bnkit:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(SMALL)
    return Bnkit(monkeypatch, capsys)


def test_version_and_help(bnkit: Bnkit) -> None:
    assert bnkit("--version") == (0, f"bnkit {__version__}\n", "")
    code, out, _ = bnkit("--help")
    assert code == 0
    assert "explain" in out
    assert "study" in out


def test_list_and_show(bnkit: Bnkit) -> None:
    code, out, _ = bnkit("study", "list")
    assert code == 0
    assert re.search(r"^digits +Handwritten digits", out, flags=re.MULTILINE)
    assert "digits" in [
        row["name"] for row in json.loads(bnkit("study", "list", "--format", "json")[1])
    ]
    code, out, _ = bnkit("study", "show", "digits")
    assert "[arms.without]" in out
    assert out.endswith("# 10 trials: 2 arms × 5 seeds\n")
    assert json.loads(bnkit("study", "show", "digits", "--format", "json")[1])["trials"] == 10
    assert "epochs = 5" in bnkit("study", "show", "digits", "--quick")[1]


def test_run_prints_the_table_the_verdicts_and_the_page(bnkit: Bnkit, tmp_path: Path) -> None:
    code, out, err = bnkit("study", "run", "small.toml", "--workers", "1")
    assert code == 0
    assert "training 6 trials" in err
    assert err.count(": test accuracy 0.") == 6
    for words in ("test accuracy", "without", "with", "supported: test accuracy", "lies above 0"):
        assert words in out
    assert out.endswith("The report: runs/small/report.html\n")
    assert all(line == line.rstrip() and len(line) <= 80 for line in out.splitlines())
    page = (tmp_path / "runs" / "small" / "report.html").read_text("utf-8")
    assert "bnkit study run small.toml --workers 1" in page

    code, again, err = bnkit("study", "run", "small.toml", "--workers", "1")
    assert (code, again, err) == (0, out, ""), "a second run trains nothing and says the same"

    code, out, err = bnkit("study", "report", "runs/small", "--format", "json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert found["trials"] == 6
    assert [verdict["outcome"] for verdict in found["verdicts"]] == ["supported", "supported"]


def test_json_prints_nothing_else_and_quiet_no_progress(bnkit: Bnkit) -> None:
    arguments = ("study", "run", "small.toml", "--quick", "--workers", "1")
    code, out, err = bnkit(*arguments, "--out", "a", "--format", "json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["folder"] == "a"
    assert {verdict["reason"] for verdict in found["verdicts"]} == {"too few seeds"}
    code, out, err = bnkit(*arguments, "--out", "b", "--quiet")
    assert (code, err) == (0, "")
    assert "inconclusive" in out


def test_options_override_the_file(bnkit: Bnkit) -> None:
    code, out, _ = bnkit(
        *("study", "run", "small.toml", "--workers", "1", "--seeds", "1", "--device", "cpu"),
        *("--set", "training.optimizer.lr=0.05", "--set", "network.name=dense"),
        *("--set", "network.args={ hidden = [4] }", "--out", "o", "--format", "json"),
    )
    assert code == 0
    assert json.loads(out)["trials"] == 2
    (trial, _) = Path("o", "trials").iterdir()
    spec = json.loads((trial / "trial.json").read_text())["spec"]
    assert spec["training"]["optimizer"]["lr"] == 0.05
    assert spec["network"]["args"] == {"hidden": [4]}


def test_strict_fails_on_a_refuted_claim(bnkit: Bnkit) -> None:
    claim = """
    [[claims]]
    id = "wrong"
    text = "training loss is higher with batch norm"
    kind = "higher"
    metric = "train loss"
    better = "with"
    than = "without"
    """
    Path("wrong.toml").write_text(SMALL.replace('"small"', '"wrong"') + claim)
    arguments = ("study", "run", "wrong.toml", "--workers", "1", "--quiet")
    code, out, _ = bnkit(*arguments)
    assert code == 0
    assert "refuted: training loss is higher" in out
    assert bnkit(*arguments, "--strict")[0] == 1


MISTAKES = {
    "unknown study": (("run", "digts"), "Did you mean 'digits'"),
    "malformed": (("run", "malformed.toml"), "line 2"),
    "unknown key": (("run", "unknown.toml"), "Did you mean 'epochs'"),
    "negative rate": (("run", "small.toml", "--set", "training.optimizer.lr=-1"), "greater than 0"),
    "bad set": (("run", "small.toml", "--set", "training.epochs"), "KEY=VALUE"),
    "unknown set": (("run", "small.toml", "--set", "trainin.epochs=1"), "training.epochs"),
    "missing network": (("run", "small.toml", "--set", "network.name=net.py:build"), "net.py"),
    "no batch norm": (
        ("run", "small.toml", "--set", "network.name=plain.py:build"),
        "no batch norm",
    ),
    "not a module": (
        ("run", "small.toml", "--set", "network.name=plain.py:number"),
        "returned a int",
    ),
    "batch too large": (("run", "small.toml", "--set", "data.batch_size=9999"), "9999"),
    "no seeds": (("run", "small.toml", "--seeds", "0"), "--seeds"),
    "unwritable": (("run", "small.toml", "--out", "small.toml/x"), "--out"),
    "no quick": (("run", "malformed.toml", "--quick"), "line 2"),
    "no folder": (("report", "nowhere"), "holds no study"),
    "bad option": (("run", "small.toml", "--sedes", "3"), "--se"),
    "meta device": (("run", "small.toml", "--device", "meta"), "cannot be used"),
    "unknown loss": (("run", "small.toml", "--set", "training.loss=nll"), "cross-entropy"),
    "misspelt data key": (("run", "small.toml", "--set", "data.nme=x"), "Did you mean 'name'"),
    "whole table": (("run", "small.toml", "--set", "data=x"), "cannot be overridden"),
    "bad device": (("run", "small.toml", "--device", "cuda:77"), "--device cpu"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_message_and_exit_code_2(bnkit: Bnkit, case: str, tmp_path: Path) -> None:
    arguments, words = MISTAKES[case]
    Path("malformed.toml").write_text("[study]\nname = x\n")
    Path("unknown.toml").write_text(SMALL.replace("epochs", "epoch"))
    Path("plain.py").write_text(
        "from torch import nn\n"
        "def build():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
        "def number():\n    return 3\n"
    )
    before = set(tmp_path.rglob("*"))
    code, out, err = bnkit("study", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err
    made = {path for path in set(tmp_path.rglob("*")) - before if "__pycache__" not in path.parts}
    assert made == set(), "nothing is left behind"


@pytest.mark.parametrize("missing", ["polars", "scipy", "joblib"])
def test_a_missing_extra_names_it(missing: str, tmp_path: Path) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from bnkit.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "study", "run", "digits"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert f"not installed: {missing}" in done.stderr
    assert "pip install 'bnkit[lab]'" in done.stderr


def test_a_terminal_gets_a_bar_with_the_time_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "small.toml").write_text(SMALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    arguments = ["study", "run", "small.toml", "--workers", "1", "--set", "training.epochs=4"]
    monkeypatch.setattr(sys, "argv", ["bnkit", *arguments])
    parent, child = pty.openpty()
    pieces: list[bytes] = []

    def read() -> None:
        with contextlib.suppress(OSError):  # the other end was closed
            while piece := os.read(parent, 65536):
                pieces.append(piece)

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(child, "w", encoding="utf-8") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        patch.setattr(sys, "stderr", terminal)
        with pytest.raises(SystemExit) as stopped:
            main()
    reader.join()
    os.close(parent)
    assert not stopped.value.code
    text = b"".join(pieces).decode()
    assert "trial 0/6" in text
    assert "0:00:0" in text, "the time left"
    assert "test accuracy at the end is higher with batch norm" in text


def test_several_reports_are_one_json_list(bnkit: Bnkit) -> None:
    arguments = ("study", "run", "small.toml", "--quick", "--workers", "1", "--quiet")
    bnkit(*arguments, "--out", "a")
    bnkit(*arguments, "--out", "b")
    code, out, _ = bnkit("study", "report", "a", "b", "--format", "json")
    assert code == 0
    assert [found["folder"] for found in json.loads(out)] == ["a", "b"]


def test_a_stream_that_takes_ascii_only_gets_ascii(
    bnkit: Bnkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="latin-1"))
    code, _, err = bnkit("study", "run", "small.toml", "--quick", "--workers", "1")
    sys.stdout.flush()
    assert code == 0, err
    assert "inconclusive" in printed.getvalue().decode("ascii")


def test_a_run_that_is_told_to_end_says_that_finished_trials_are_kept(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(SMALL.replace("epochs = 1", "epochs = 500"))
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("bnkit")), "study", "run", "small.toml"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert any("training 6 trials" in line for line in process.stderr)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert "finished trials are kept" in err


def test_what_a_network_prints_does_not_disturb_the_results(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\nprint('imported')\n"
        "def build():\n    print('built')\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.BatchNorm1d(10))\n"
    )
    (tmp_path / "small.toml").write_text(SMALL)
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("bnkit")),
            "study",
            "run",
            "small.toml",
            "--quick",
            "--workers",
            "2",
            "--set",
            "network.name=net.py:build",
            "--format",
            "json",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["trials"] == 2
    assert "built" in done.stderr
