from __future__ import annotations

import importlib
import inspect
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bnkit.errors import TargetError
from bnkit.inspection.target import find_source, is_target, load_target, resolve_target


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(
        "from neighbour import width\n"
        "class Nets:\n    small = width\n"
        "def build():\n    return width\n"
    )
    (tmp_path / "neighbour.py").write_text("width = 7\n")
    (tmp_path / "broken.py").write_text("def f(:\n")
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "__init__.py").write_text("")
    (tmp_path / "own_package" / "nets.py").write_text("def build():\n    return 5\n")
    for package, text in (
        ("broken", "x = = 3\n"),
        ("failing", "raise RuntimeError('no licence')\n"),
    ):
        (tmp_path / f"{package}_package").mkdir()
        (tmp_path / f"{package}_package" / "__init__.py").write_text(text)
        (tmp_path / f"{package}_package" / "nets.py").write_text("")
    (tmp_path / "exiting.py").write_text("import sys\nsys.exit(2)\n")
    (tmp_path / "importing.py").write_text("import own_package.absent\n")
    (tmp_path / "lazy.py").write_text(
        "def __getattr__(name):\n    raise ImportError('not today')\n"
    )
    return tmp_path


@pytest.fixture(autouse=True)
def _same_modules_afterwards() -> Iterator[None]:
    """Each test has packages of the same names in a folder of its own."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0].endswith("_package"):
            del sys.modules[name]


def test_the_form_of_a_target() -> None:
    assert is_target("net.py:build")
    assert is_target("package.module:build")
    assert not is_target("three-conv")
    assert not is_target("net.py:")


def test_a_file_can_import_its_neighbours_and_leaves_the_import_path_alone(folder: Path) -> None:
    path = list(sys.path)
    assert load_target("net.py:build", folder)() == 7
    assert load_target("net.py:Nets.small", folder) == 7
    assert sys.path == path


def test_a_module_is_found_from_the_folder(folder: Path) -> None:
    assert load_target("own_package.nets:build", folder)() == 5
    assert find_source("own_package.nets:build", folder) == folder / "own_package" / "nets.py"


def test_a_changed_file_is_imported_anew(folder: Path) -> None:
    (folder / "changing.py").write_text("value = 1\n")
    assert load_target("changing.py:value", folder) == 1
    (folder / "changing.py").write_text("value = 2\n")
    assert load_target("changing.py:value", folder) == 2


def test_paths_become_absolute_and_modules_stay(folder: Path) -> None:
    assert resolve_target("net.py:build", folder) == f"{folder / 'net.py'}:build"
    assert resolve_target("package.net:build", folder) == "package.net:build"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nets.py:build", r"there is no file .*nets.py.*Did you mean net.py\?"),
        ("no/such/net.py:build", "There is no folder"),
        ("net.py:biuld", r"no attribute 'biuld'.*Did you mean 'build'\?"),
        ("broken.py:f", r"importing .*broken.py raised SyntaxError"),
        ("no_such_package:f", "no module 'no_such_package'"),
        ("no_such_package.module:f", "no module 'no_such_package.module'"),
        ("net.py", "has the form file.py:attribute"),
        ("..net:f", "no module '..net'"),
        ("sys:exit", "the module 'sys' has no file"),
        ("broken_package.nets:f", "importing .*nets.py raised SyntaxError"),
        ("failing_package:f", "raised RuntimeError: no licence"),
        ("own_package.nets:missing", "no attribute 'missing'"),
        ("exiting.py:f", "raised SystemExit: 2.*under `if __name__ == '__main__':`"),
        ("importing.py:f", r"raised ModuleNotFoundError: No module named 'own_package.absent'"),
        ("lazy.py:late", "reading 'late' raised ImportError: not today"),
    ],
)
def test_a_bad_target_is_one_message(folder: Path, text: str, words: str) -> None:
    with pytest.raises(TargetError, match=words):
        load_target(text, folder)


def write_pair(folder: Path, width: int, neighbour: str = "blocks") -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{neighbour}.py").write_text(f"class Block:\n    width = {width}\n")
    (folder / "net.py").write_text(
        f"from {neighbour} import Block\ndef build():\n    return Block()\n"
    )


def test_folders_whose_neighbours_share_a_name_keep_apart(tmp_path: Path) -> None:
    write_pair(tmp_path / "n1", 4)
    write_pair(tmp_path / "n2", 16)
    first = load_target("n1/net.py:build", tmp_path)
    second = load_target("n2/net.py:build", tmp_path)
    assert (first().width, second().width) == (4, 16)
    assert "blocks" not in sys.modules


def test_a_module_that_the_process_has_imported_is_neither_used_nor_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pair(tmp_path / "n1", 4, "bnkit_test_blocks")
    write_pair(tmp_path / "n2", 16, "bnkit_test_blocks")
    monkeypatch.syspath_prepend(tmp_path / "n1")
    mine = importlib.import_module("bnkit_test_blocks")
    assert load_target("n2/net.py:build", tmp_path)().width == 16
    assert sys.modules.pop("bnkit_test_blocks") is mine


def test_an_edited_neighbour_is_imported_anew_and_an_unchanged_one_is_not(tmp_path: Path) -> None:
    write_pair(tmp_path, 4)
    first = load_target("net.py:build", tmp_path)
    assert load_target("net.py:build", tmp_path) is first
    write_pair(tmp_path, 8)
    assert load_target("net.py:build", tmp_path)().width == 8
    assert first().width == 4


def test_imports_inside_functions_find_the_folder_whenever_they_run(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "def build(classes):\n    from parts.block import width\n"
        "    import parts.block as again\n    return width + again.width + classes\n"
    )
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "__init__.py").write_text("from . import block\n")
    (tmp_path / "parts" / "block.py").write_text("from .sizes import width\n")
    (tmp_path / "parts" / "sizes.py").write_text("import net\nwidth = 3\n")
    build = load_target("net.py:build", tmp_path)
    path = list(sys.path)
    assert build(1) == 7
    assert list(inspect.signature(build).parameters) == ["classes"]
    assert sys.path == path
    assert not {"net", "parts", "parts.block"} & sys.modules.keys()


def test_what_a_file_imports_by_name_leaves_no_trace(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import importlib\nbuild = importlib.import_module('blocks').Block\n"
    )
    (tmp_path / "blocks.py").write_text("class Block:\n    width = 4\n")
    assert load_target("net.py:build", tmp_path).width == 4
    assert "blocks" not in sys.modules


def test_classes_of_a_target_and_its_neighbours_can_be_pickled_and_inspected(
    tmp_path: Path,
) -> None:
    write_pair(tmp_path, 4)
    block = load_target("net.py:build", tmp_path)()
    assert type(pickle.loads(pickle.dumps(block))) is type(block)
    assert inspect.getsource(type(block)) == "class Block:\n    width = 4\n"


def test_a_folder_of_a_packages_name_gives_way_to_the_package(tmp_path: Path) -> None:
    (tmp_path / "json").mkdir()
    (tmp_path / "net.py").write_text("import json\nimport bnkit.errors\nbuild = json.dumps\n")
    (tmp_path / "bnkit").mkdir()
    (tmp_path / "bnkit" / "__init__.py").write_text("raise RuntimeError\n")
    assert load_target("net.py:build", tmp_path)(1) == "1"


def test_a_file_inside_a_package_can_name_the_package(tmp_path: Path) -> None:
    package = tmp_path / "inner_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "sizes.py").write_text("width = 6\n")
    (package / "net.py").write_text(
        "from inner_package.sizes import width\nfrom . import sizes\nassert sizes.width == width\n"
    )
    assert load_target("inner_package/net.py:width", tmp_path) == 6


def test_a_file_name_may_hold_dots(tmp_path: Path) -> None:
    (tmp_path / "net.v2-wide.py").write_text("width = 5\n")
    assert load_target("net.v2-wide.py:width", tmp_path) == 5


def test_a_failed_import_can_be_mended(tmp_path: Path) -> None:
    write_pair(tmp_path, 4)
    (tmp_path / "blocks.py").write_text("x = = 3\n")
    with pytest.raises(TargetError, match="raised SyntaxError"):
        load_target("net.py:build", tmp_path)
    write_pair(tmp_path, 4)
    assert load_target("net.py:build", tmp_path)().width == 4


def test_an_interrupt_passes_through(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_target("net.py:build", tmp_path)


def test_finding_a_module_runs_nothing(folder: Path) -> None:
    source = folder / "failing_package" / "nets.py"
    assert find_source("failing_package.nets:f", folder) == source
    assert "failing_package" not in sys.modules


def test_relative_imports_of_a_package_work(folder: Path) -> None:
    (folder / "own_package" / "sizes.py").write_text("width = 9\n")
    (folder / "own_package" / "wide.py").write_text(
        "from .sizes import width\ndef build():\n    from . import sizes\n    return sizes.width\n"
    )
    assert load_target("own_package.wide:build", folder)() == 9


def test_a_package_that_changed_after_its_import_is_refused(folder: Path) -> None:
    assert load_target("own_package.nets:build", folder)() == 5
    assert load_target("own_package.nets:build", folder)() == 5
    (folder / "own_package" / "nets.py").write_text("def build():\n    return 6\n")
    with pytest.raises(TargetError, match=r"nets\.py has changed since .*Restart Python"):
        load_target("own_package.nets:build", folder)


def test_a_package_of_the_same_name_elsewhere_is_refused(folder: Path) -> None:
    load_target("own_package.nets:build", folder)
    other = folder / "other"
    (other / "own_package").mkdir(parents=True)
    (other / "own_package" / "__init__.py").write_text("")
    (other / "own_package" / "nets.py").write_text("def build():\n    return 6\n")
    with pytest.raises(TargetError, match="has imported another module of that name"):
        load_target("own_package.nets:build", other)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """pk/__init__.py, pk/blocks.py, pk/sub/__init__.py, pk/sub/net.py."""
    files = {
        "pk/__init__.py": "K = 3\n",
        "pk/blocks.py": "class Block:\n    pass\n",
        "pk/sub/__init__.py": "",
        "pk/sub/net.py": (
            "from .. import K\n"
            "from ..blocks import Block\n"
            "from pk.blocks import Block as Same\n"
            "def build():\n    return K, Block is Same\n"
        ),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_file_of_a_package_is_imported_as_part_of_it(package: Path) -> None:
    assert load_target("pk/sub/net.py:build", package)() == (3, True)
    assert load_target("pk/__init__.py:K", package) == 3
    assert "pk" not in sys.modules


def test_a_change_anywhere_in_the_package_is_seen(package: Path) -> None:
    load_target("pk/sub/net.py:build", package)
    (package / "pk" / "__init__.py").write_text("K = 4\n")
    assert load_target("pk/sub/net.py:build", package)() == (4, True)


def test_messages_do_not_show_private_names(package: Path) -> None:
    (package / "pk" / "sub" / "net.py").write_text("from . import absent\n")
    with pytest.raises(TargetError) as raised:
        load_target("pk/sub/net.py:build", package)
    assert "_bnkit_target_" not in str(raised.value)
    assert "absent" in str(raised.value)
