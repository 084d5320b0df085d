"""What of docs and style a machine can check: lengths of files and functions, names of tests."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from source_tree import PACKAGE, ROOT, module_name, source_files

FILE_LINES = 400
FUNCTION_LINES = 40
KERNEL_FUNCTION_LINES = 60


def long_functions(source: str, limit: int) -> list[str]:
    """Return the functions whose body is longer than `limit` lines.

    Signature and docstring do not count: typed arguments and their description are what they are.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        has_docstring = ast.get_docstring(node, clean=False) is not None
        body = node.body[1:] if has_docstring else node.body
        lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
        if lines > limit:
            found.append(f"{node.name}: {lines} lines")
    return found


@pytest.mark.parametrize("file", source_files(), ids=module_name)
def test_files_and_functions_stay_short(file: Path) -> None:
    source = file.read_text("utf-8")
    assert len(source.splitlines()) <= FILE_LINES
    in_kernels = "kernels" in file.relative_to(PACKAGE).parts
    limit = KERNEL_FUNCTION_LINES if in_kernels else FUNCTION_LINES
    assert long_functions(source, limit) == []


def test_the_length_check_can_fail() -> None:
    body = "\n".join(f"    x{i} = {i}" for i in range(50))
    assert long_functions(f"def long():\n{body}\n", FUNCTION_LINES) == ["long: 50 lines"]


def test_tests_mirror_the_source() -> None:
    for test in (ROOT / "tests").glob("*/**/test_*.py"):
        folder = test.parent.relative_to(ROOT / "tests")
        if folder.parts[0] in ("contracts", "meta", "docs"):
            continue
        assert (PACKAGE / folder).is_dir(), f"{folder} mirrors no folder of the package"


def test_no_path_of_a_machine_stands_in_the_project() -> None:
    pattern = re.compile(r"/(?:work|home|root|Users)/[a-z]")
    folders = ("src", "tests", "docs", "benchmarks", "examples")
    for file in [p for folder in folders for p in (ROOT / folder).rglob("*") if p.is_file()]:
        if file.suffix in (".py", ".md", ".toml", ".json", ".html", ".css", ".js"):
            found = pattern.search(file.read_text("utf-8"))
            assert found is None, f"{file}: {found and found.group()}"
