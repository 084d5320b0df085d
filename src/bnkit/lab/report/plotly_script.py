"""Plotly's JavaScript, which draws the figures of the page."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from bnkit.errors import MissingExtraError


def plotly_source() -> str:
    """Return Plotly's JavaScript, read from the plotly package without importing it.

    Raises:
        MissingExtraError: plotly is not installed, or has no JavaScript in it.
    """
    spec = find_spec("plotly")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for folder in folders:
        path = Path(folder) / "package_data" / "plotly.min.js"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise MissingExtraError(
        "plotly is not installed",
        required="the report page draws its curves with it",
        remedy='Install it with pip install "bnkit[lab]"',
    )
