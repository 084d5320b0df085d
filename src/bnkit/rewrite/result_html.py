"""A rewrite as a piece of a notebook."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bnkit import page as pages

if TYPE_CHECKING:
    from bnkit.rewrite.result import Rewrite

TEMPLATES = Path(__file__).parent / "templates"


def result_fragment(rewrite: Rewrite) -> str:
    """Return the account of a rewrite as HTML: changes, what was left alone, and the difference."""
    return pages.render_fragment(
        TEMPLATES,
        "result_cell.html",
        name=rewrite.name or "rewrite",
        model=type(rewrite.model).__name__,
        changes=[(change.path or "(model)", change.what) for change in rewrite.changes],
        skipped=[(item.path or "(model)", item.reason) for item in rewrite.skipped],
        lines=[*rewrite._whole(), *rewrite._more()],
    )
