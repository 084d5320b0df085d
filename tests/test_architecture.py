"""Who may import whom: the table of docs/architecture.md, held against every import."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bnkit._extras import EXTRAS
from source_tree import ROOT, imports_of, module_name, source_files

# folder (or module) → what it may import beside itself, `errors`, `_lazy` and `_files`.
# The longest key that fits a module counts. docs/architecture.md prints the same table.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "_extras": set(),
    "_lazy": {"_extras"},
    "_files": set(),
    "_machine": set(),
    "kernels": set(),
    "page": set(),
    "functional": {"kernels.dispatch"},
    "layers": {"functional"},
    "inspection": {"layers", "functional", "page"},
    "inspection.private_package": set(),
    "inspection.target": {"inspection.private_package"},
    "rewrite": {"inspection", "kernels.dispatch", "layers", "functional", "page"},
    "inspection.facts": set(),
    "rules": {"inspection.facts"},
    "checker": {"inspection", "rules", "rewrite", "page"},
    "compilation": {"functional", "inspection", "kernels.dispatch", "rewrite"},
    "explain": {"kernels", "functional", "layers", "inspection", "rewrite", "page"},
    "bench": {"kernels", "functional", "layers"},
    "lab.data": set(),
    "lab.networks": {"layers"},
    "lab.store": set(),
    "lab.training": {"lab.data"},
    "lab.probes": {"inspection", "functional", "lab.store", "lab.training", "rewrite"},
    "lab.recording": {
        "_extras",
        "inspection",
        "lab.probes",
        "lab.report",
        "lab.store",
        "lab.study.environment",
        "lab.training",
    },
    "lab.study": {
        "lab.data",
        "lab.networks",
        "lab.probes",
        "lab.store",
        "lab.training",
        "kernels.dispatch",
        "rewrite",
        "layers",
        "inspection",
    },
    "lab.report": {"lab.store", "page"},
    "lab.study_pages": {"lab.data", "lab.report", "lab.store", "lab.study", "page"},
    "lab": {"lab", "page"},
    "cli": {""},
    "__main__": {"cli"},
}
EVERYONE = {"errors", "_lazy", "_files", "_machine", "__version__"}
# Packages that a folder must not import, directly at least.
FORBIDDEN_PACKAGES = {
    "inspection.facts": {"torch", "numpy"},
    "rules": {"torch", "numpy"},
    "lab.store": {"torch"},
    "lab.report": {"torch", "plotly"},
    "page": {"torch", "plotly"},
    "lab.data": {"torch"},
    "cli": {"torch"},
}
ROOT_MODULE = ""


def owner(module: str) -> str:
    """Return the longest key of the table that a module (without `bnkit.`) belongs to."""
    fitting = [key for key in ALLOWED if module == key or module.startswith(f"{key}.")]
    assert fitting, f"bnkit.{module} is not in the import table"
    return max(fitting, key=len)


def violations(module: str, imported: str) -> bool:
    """Return whether `bnkit.module` must not import `imported`."""
    if not imported.startswith("bnkit"):
        return imported.split(".", maxsplit=1)[0] in FORBIDDEN_PACKAGES.get(owner(module), set())
    target = imported.removeprefix("bnkit").removeprefix(".")
    if target in EVERYONE:
        return False
    key = owner(module)
    if target == key or target.startswith(f"{key}."):
        return False
    return not any(
        allowed == "" or target == allowed or target.startswith(f"{allowed}.")
        for allowed in ALLOWED[key]
    )


@pytest.mark.parametrize("file", source_files(), ids=module_name)
def test_imports_follow_the_table(file: Path) -> None:
    module = module_name(file).removeprefix("bnkit").removeprefix(".")
    if module == ROOT_MODULE:
        return
    wrong = [
        f"line {found.line}: {found.module}"
        for found in imports_of(file)
        if violations(module, found.module)
    ]
    assert not wrong, f"{module} may not import: {wrong}"


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("kernels.eager", "bnkit.functional"),
        ("kernels.eager", "bnkit.remove"),
        ("kernels.eager", "bnkit"),
        ("functional.normalization", "bnkit.kernels.eager"),
        ("lab.report.page", "bnkit.lab.study.claims"),
        ("lab.report.page", "torch"),
        ("lab.store.schema", "torch.nn"),
        ("layers.batch_norm", "bnkit.cli"),
        ("inspection.target", "bnkit.layers"),
        ("inspection.facts.graph", "bnkit.inspection.trace"),
        ("rules.redundant_bias", "bnkit.inspection.walk"),
        ("rules.redundant_bias", "torch"),
    ],
)
def test_the_table_can_be_violated(module: str, imported: str) -> None:
    assert violations(module, imported)


def test_the_documented_table_is_this_one() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    rows = {
        cells[1].strip().strip("`"): cells[2]
        for cells in (line.split("|") for line in page.splitlines() if line.startswith("| `"))
        if len(cells) >= 4
    }
    for key, allowed in ALLOWED.items():
        if key in ("errors", "_extras", "_files", "_lazy", "_machine"):
            continue
        assert key in rows, f"docs/architecture.md has no row for `{key}`"
        for name in allowed - {""}:
            assert f"`{name}`" in rows[key], f"row `{key}` does not name `{name}`"


LIGHT = {
    "bnkit": {"torch", "numpy", "numba", "triton", "plotly", "sklearn", "polars", "scipy"},
    "bnkit.cli.main": {"torch", "numpy", "polars", "pydantic", "scipy", "sklearn", "plotly"},
    "bnkit.rules": {"torch", "numpy"},
    "bnkit.checker.report": {"torch", "numpy", "jinja2"},
    "bnkit.checker.report_html": {"torch", "numpy"},
    "bnkit.checker.sarif": {"torch", "numpy"},
    "bnkit.checker.settings": {"torch", "numpy"},
    "bnkit.lab": {"torch", "polars", "plotly"},
    "bnkit.lab.data.inventory": {"torch", "numpy", "pydantic", "sklearn"},
    "bnkit.lab.report": {"torch", "polars", "plotly", "jinja2"},
    "bnkit.lab.study.study_file": {"torch", "polars", "plotly", "sklearn"},
    "bnkit.page.shell": {"torch", "numpy", "polars", "plotly", "matplotlib"},
    "bnkit.layers": {"numba", "triton", "plotly", "sklearn", "polars"},
}


@pytest.mark.parametrize("module", LIGHT)
def test_importing_leaves_heavy_packages_unloaded(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({LIGHT[module]!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_reading_every_rule_leaves_torch_unloaded() -> None:
    code = "import sys, bnkit.rules as r; r.all_rules(); print({'torch', 'numpy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("file", source_files(), ids=module_name)
def test_a_module_never_bears_the_name_of_what_its_package_exports(file: Path) -> None:
    if file.name != "__init__.py":
        return
    text = file.read_text("utf-8")
    for sibling in [*file.parent.glob("*.py"), *(p for p in file.parent.iterdir() if p.is_dir())]:
        name = sibling.stem
        exported_from_elsewhere = (
            f'"{name}": "' in text and f'"{name}": "{module_name(file)}.{name}"' not in text
        )
        assert not exported_from_elsewhere, (
            f"{module_name(file)} exports {name!r}, and has a module of that name"
        )


def test_the_extras_are_those_of_the_project_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for extra, modules in EXTRAS.items():
        listed = project["optional-dependencies"][extra]
        assert {re.split(r"[<>=]", requirement)[0] for requirement in listed} == modules.keys()
