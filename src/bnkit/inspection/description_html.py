"""A description as a page, and as a piece of a notebook."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnkit import page as pages
from bnkit.inspection.description_text import RIGHT, legend, rows, used_columns

if TYPE_CHECKING:
    from bnkit.inspection.description import Description

TEMPLATES = Path(__file__).parent / "templates"


def description_page(description: Description) -> str:
    """Return the description as one HTML file that opens offline."""
    return pages.render_page(
        TEMPLATES,
        "description.html",
        style=(TEMPLATES / "description.css").read_text(encoding="utf-8"),
        **_content(description),
    )


def description_fragment(description: Description) -> str:
    """Return the description as HTML for a notebook's cell."""
    return pages.render_fragment(TEMPLATES, "description_cell.html", **_content(description))


def _content(description: Description) -> dict[str, Any]:
    table = rows(description)
    used = used_columns(table) if description.layers else []
    head, *layers, last = [[(row[c], c in RIGHT) for c in used] for row in table]
    return {
        "target": description.target or "Model",
        "parameters": description.model_parameters,
        "head": head,
        "layers": layers if description.layers else [],
        "last": last,
        "legend": legend(description),
    }
