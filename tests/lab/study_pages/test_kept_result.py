"""What is kept of a run: what was found, and nothing of the machine's folders."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bnkit.errors import StoreError
from bnkit.lab.store import read_study
from bnkit.lab.study_pages.kept_result import as_text, keep, kept_result, read_kept
from bnkit.lab.study_pages.private_text import public_command, without_paths
from lab.study_pages.stored_run import PRIVATE, write_run


def test_what_was_found_is_kept_and_read_again(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    path = keep(folder, tmp_path / "results", "abc1234")
    assert path.name == "digits-quick.json"
    result = read_kept(path.parent)["digits"]["quick"]
    stored = read_study(folder)
    assert [v.outcome for v in result.verdicts] == ["supported", "supported"]
    assert [v.outcome for v in stored.verdicts] == ["supported", "supported"]
    for kept, verdict in zip(result.verdicts, stored.verdicts, strict=True):
        assert kept.effect == pytest.approx(verdict.effect, rel=1e-5)
        assert (kept.text, kept.arms, kept.seeds) == (verdict.text, verdict.arms, verdict.seeds)
    assert len(result.summaries) == len(stored.summaries)
    assert (result.commit, result.trials, result.seconds) == ("abc1234", 10, 15.0)
    assert as_text(result) == path.read_text("utf-8")


def test_nothing_private_is_kept(tmp_path: Path) -> None:
    path = keep(write_run(tmp_path / "run"), tmp_path / "results", "abc1234")
    text = path.read_text("utf-8")
    assert "secret" not in text
    assert "somebody" not in text
    assert "named-build" not in text
    result = read_kept(path.parent)["digits"]["quick"]
    assert result.command == (
        "bnkit study run digits --quick --data-dir DIR --set network.name=net.py:build"
    )
    assert result.machines == [{"system": "Linux", "processor": "Processor X", "cores": 2}]
    assert result.notes == ["Images of digits were read."]


def test_a_result_is_small(tmp_path: Path) -> None:
    assert keep(write_run(tmp_path / "run"), tmp_path / "results", "abc1234").stat().st_size < 8_000


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("read /a/b/c.npz", "read c.npz"),
        ("/top", "top"),
        (r"C:\Users\me\net.py:build", "net.py:build"),
        ("~/mine/net.py", "net.py"),
        ("('/a/b/net.py', 3)", "('net.py', 3)"),
        ("mean 1/2, and/or a / b", "mean 1/2, and/or a / b"),
        ("nets/net.py:build", "nets/net.py:build"),
    ],
)
def test_paths_are_cut_to_their_last_part(text: str, public: str) -> None:
    assert without_paths(text) == public
    assert without_paths({"key": [text]}) == {"key": [public]}


@pytest.mark.parametrize(
    ("command", "public"),
    [
        ("bnkit study run a --data-dir=/d --seeds 3", "bnkit study run a --data-dir DIR --seeds 3"),
        ("bnkit study run a --quiet --format json", "bnkit study run a"),
        ("bnkit study run '/x/my study.toml'", "bnkit study run 'my study.toml'"),
        (f"bnkit.lab.run('a', data_dir='{PRIVATE}/d')", "bnkit.lab.run('a', data_dir='d')"),
        ("bnkit.lab.run('it', out=\"x", "bnkit.lab.run('it', out=\"x"),
    ],
)
def test_commands_can_be_given_by_anybody(command: str, public: str) -> None:
    assert public_command(command) == public


def test_a_run_without_the_option_is_full(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", command="bnkit study run digits", quick=False)
    assert kept_result(read_study(folder), "abc", "2026-01-01").profile == "full"


def test_a_run_that_has_not_finished_is_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", notes=("Partial: 9 of 10 trials have finished so far.",))
    with pytest.raises(StoreError, match="digits has not finished: Partial: 9 of 10") as caught:
        keep(folder, tmp_path / "results", "abc1234")
    assert "same --out" in str(caught.value)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("digits-full.json", lambda text: text, "a file of the name digits-quick.json"),
        ("digits-quick.json", lambda text: text[: len(text) // 2], "cannot read .*Delete it"),
        ("digits-quick.json", lambda text: "[]", "cannot read .*Delete it"),
        (
            "digits-quick.json",
            lambda text: re.sub(r'"outcome": "\w+",', "", text),
            "cannot read .*outcome",
        ),
    ],
    ids=["renamed", "cut", "no-result", "incomplete"],
)
def test_damaged_results_are_named(tmp_path: Path, name: str, change: object, says: str) -> None:
    path = keep(write_run(tmp_path / "run"), tmp_path / "results", "abc1234")
    text = path.read_text("utf-8")
    path.unlink()
    assert callable(change)
    (path.parent / name).write_text(change(text), "utf-8")
    with pytest.raises(StoreError, match=says):
        read_kept(path.parent)
