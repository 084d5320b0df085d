from __future__ import annotations

from pathlib import Path

from bnkit.lab.study.fingerprints import target_fingerprint


def test_a_target_is_hashed_by_its_file(tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text("a = 1\n")
    first = target_fingerprint(f"{file}:a")
    assert first == target_fingerprint(f"{file}:b")
    file.write_text("a = 2\n")
    assert target_fingerprint(f"{file}:a") != first


def test_networks_of_bnkit_are_hashed_by_their_file() -> None:
    assert target_fingerprint("three-conv") != target_fingerprint("dense")
