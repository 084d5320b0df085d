"""`bnkit data` and --data-dir as a person meets them: output, messages, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import bnkit
from bnkit.cli.interruption import ended_as_interrupted
from bnkit.errors import DataError
from helpers.command_line import Bnkit
from helpers.stored_files import write_mnist

STUDY = """
[data]
name = "mnist"
batch_size = 8
[network]
name = "dense"
args = { hidden = [4] }
[training]
epochs = 1
optimizer = { name = "sgd", lr = 0.1 }
[grid]
seed = [0]
"""


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Bnkit:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BNKIT_DATA_DIR", str(tmp_path / "absent"))
    (tmp_path / "study.toml").write_text(STUDY)
    return Bnkit(monkeypatch, capsys)


def test_list_shows_what_is_where(run: Bnkit, tmp_path: Path) -> None:
    code, out, err = run("data", "list")
    assert (code, err) == (0, "")
    assert "mnist          handwritten digits, 60,000 + 10,000" in out
    assert "absent (12 MB)" in out
    assert "comes with scikit-learn" in out
    assert "absent (does not exist yet)" in out
    write_mnist(tmp_path / "d" / "mnist")
    assert str(tmp_path / "d" / "mnist") in run("data", "list", "--data-dir", "d")[1]
    found = json.loads(run("data", "list", "--data-dir", "d", "--format", "json")[1])
    assert found["folder"] == str(tmp_path / "d")
    states = {entry["name"]: entry["state"] for entry in found["sets"]}
    assert (states["digits"], states["mnist"]) == ("embedded", "found")


def test_verify_exits_with_1_for_other_content(run: Bnkit, tmp_path: Path) -> None:
    assert run("data", "verify") == (0, "No data set lies in the data folder.\n", "")
    write_mnist(tmp_path / "d")
    code, out, _ = run("data", "verify", "mnist", "--data-dir", "d")
    assert code == 1
    assert out.startswith("mnist: differs: ")
    code, out, _ = run("data", "verify", "wine", "--format", "json")
    assert code == 0
    assert json.loads(out)[0]["state"] == "embedded"


def test_a_users_mistake_is_one_message(run: Bnkit) -> None:
    code, out, err = run("data", "verify", "mnits")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "Did you mean 'mnist'?" in err
    code, _, err = run("data", "verify", "mnist")
    assert code == 2
    assert "bnkit data fetch mnist" in err
    code, _, err = run("data", "fetch", "hindi-digits", "--data-dir", "study.toml")
    assert code == 2
    assert "is a file" in err


def test_fetch_of_what_is_there_or_embedded_downloads_nothing(run: Bnkit, tmp_path: Path) -> None:
    code, out, err = run("data", "fetch", "iris")
    assert (code, err) == (0, "")
    assert "comes with scikit-learn" in out
    write_mnist(tmp_path / "d")
    code, out, err = run("data", "fetch", "mnist", "--data-dir", "d", "--format", "json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {"name": "mnist", "place": str(tmp_path / "d")}


def test_fetch_that_is_interrupted_says_so(run: Bnkit, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("bnkit.lab.data.fetching.fetch", interrupted)
    code, out, err = run("data", "fetch", "mnist")
    assert (code, out) == (130, "")
    assert "interrupted; whole files are kept" in err


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), ended_as_interrupted():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_study_takes_its_data_from_the_folder_given(run: Bnkit, tmp_path: Path) -> None:
    write_mnist(tmp_path / "d")
    code, _, err = run("study", "run", "study.toml", "--workers", "1")
    assert code == 2
    assert f"data mnist: the data folder {tmp_path / 'absent'} does not exist" in err
    assert not (tmp_path / "runs").exists()
    arguments = ("study", "run", "study.toml", "--workers", "1", "--format", "json")
    code, out, _ = run(*arguments, "--data-dir", "d")
    assert code == 0
    assert json.loads(out)["trials"] == 2
    # Moved, recompressed, and found by another way: the same trials.
    write_mnist(tmp_path / "e" / "x", compress=False)
    result = bnkit.lab.run("study.toml", data_dir=tmp_path / "e", workers=1)
    assert len(list((tmp_path / "runs" / "study" / "trials").iterdir())) == 2
    assert any("not those of the official MNIST" in note for note in result.stored.notes)
    (tmp_path / "absent").mkdir()
    with pytest.raises(DataError, match="data mnist: is not in"):
        bnkit.lab.run("study.toml", out="other")


def test_list_leaves_torch_and_numpy_unloaded(tmp_path: Path) -> None:
    code = (
        "import sys; from bnkit.cli.main import app; sys.argv = ['bnkit', 'data', 'list']\n"
        "try: app()\n"
        "except SystemExit: pass\n"
        "print({'torch', 'numpy', 'polars', 'sklearn'} & {*sys.modules})"
    )
    environment = {**os.environ, "BNKIT_DATA_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.splitlines()[-1] == "set()"
