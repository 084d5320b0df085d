from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bnkit.errors import TargetError
from bnkit.inspection import target_sources
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
    files = target_sources.target_sources("bnkit.lab.networks.dense:dense", Path.cwd())
    assert [file.name for file in files] == ["dense.py"]


SOURCES = {
    "net.py": "from blocks import W\nimport torch\ndef build():\n    import parts.late\n",
    "blocks.py": "W = 4\nimport net\n",
    "parts/__init__.py": "from .inner import *\n",
    "parts/inner/__init__.py": "from .. import sizes\n",
    "parts/sizes.py": "from .deep.er import x\n",
    "parts/deep/er.py": "x = 1\n",
    "parts/late.py": "def broken(:\n",
    "parts/unused.py": "",
    "torch/extra.py": "",
    "unused.py": "",
}


def write(folder: Path, sources: dict[str, str]) -> None:
    for name, text in sources.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.mark.parametrize("changed", SOURCES)
def test_what_a_file_imports_near_it_counts_and_nothing_else(tmp_path: Path, changed: str) -> None:
    write(tmp_path, SOURCES)
    target = f"{tmp_path / 'net.py'}:build"
    first = target_fingerprint(target)
    write(tmp_path, {changed: SOURCES[changed] + "y = 1\n"})
    followed = not (changed.endswith("unused.py") or changed == "torch/extra.py")
    assert (target_fingerprint(target) != first) == followed


@pytest.mark.parametrize(
    ("changed", "counts"),
    [
        ("mine/__init__.py", True),
        ("mine/nets/sizes.py", True),
        ("mine/shared.py", True),
        ("beside.py", True),
        ("mine/other.py", False),
        ("nets.py", False),
    ],
)
def test_what_a_module_of_the_user_imports_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str, counts: bool
) -> None:
    sources = {
        "mine/__init__.py": "",
        "mine/nets/net.py": "from mine import shared\nfrom .sizes import W\nimport beside\n",
        "mine/nets/sizes.py": "W = 4\n",
        "mine/shared.py": "",
        "mine/other.py": "",
        "beside.py": "",
        "nets.py": "",
    }
    write(tmp_path, sources)
    monkeypatch.chdir(tmp_path)
    first = target_fingerprint("mine.nets.net:build")
    write(tmp_path, {changed: sources[changed] + "y = 1\n"})
    assert (target_fingerprint("mine.nets.net:build") != first) == counts


def test_an_installed_package_counts_whole_and_its_neighbours_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "site-packages"
    write(
        place,
        {
            "bnkit_test_nets/__init__.py": "",
            "bnkit_test_nets/net.py": "import bnkit_test_other\n",
            "bnkit_test_nets/lazily.py": "",
            "bnkit_test_other.py": "",
        },
    )
    monkeypatch.syspath_prepend(place)
    first = target_fingerprint("bnkit_test_nets.net:build")
    write(place, {"bnkit_test_other.py": "x = 1\n"})
    assert target_fingerprint("bnkit_test_nets.net:build") == first
    write(place, {"bnkit_test_nets/lazily.py": "x = 1\n"})
    assert target_fingerprint("bnkit_test_nets.net:build") != first


def test_a_network_may_be_moved_with_its_folder(tmp_path: Path) -> None:
    write(tmp_path / "here", SOURCES)
    write(tmp_path / "deeper" / "there", SOURCES)
    first, second = (target_fingerprint(f"{tmp_path / place}/net.py:build") for place in PLACES)
    assert first == second


PLACES = ("here", "deeper/there")


def test_endless_imports_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target_sources, "MAX_FILES", 3)
    write(tmp_path, SOURCES)
    with pytest.raises(TargetError, match="imports more than 3 files"):
        target_fingerprint(f"{tmp_path / 'net.py'}:build")


def test_files_are_hashed_without_running_them_or_loading_torch(tmp_path: Path) -> None:
    write(tmp_path, {**SOURCES, "blocks.py": "raise RuntimeError\n"})
    code = (
        "import sys; from bnkit.lab.study.fingerprints import target_fingerprint as t;"
        f"t({str(tmp_path / 'net.py')!r} + ':build'); t('dense'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
