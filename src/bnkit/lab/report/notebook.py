"""What a notebook shows: a study's results as tables, and the report page in a frame."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING

from bnkit.lab.report.answer import answer
from bnkit.lab.report.claim_cards import claim_cards
from bnkit.lab.report.tables import arm_table
from bnkit.page import render_fragment

if TYPE_CHECKING:
    from bnkit.lab.store.study_store import StoredStudy

TEMPLATES = Path(__file__).parent / "templates"
FRAME_PX = 800


class ReportFile(type(Path())):  # type: ignore[misc]
    """The path of a report page, which a notebook shows as the page itself."""

    def _repr_html_(self) -> str:
        page = html.escape(self.read_text(encoding="utf-8"), quote=True)
        return (
            f'<iframe title="Report of the study" srcdoc="{page}" '
            f'style="width: 100%; height: {FRAME_PX}px; border: 0"></iframe>'
        )


def results_html(study: StoredStudy, report: Path | None) -> str:
    """Return a study's answer, verdicts and arms as HTML without scripts.

    Args:
        study: what `bnkit.lab.store.read_study` returns.
        report: where its page lies, if it does.
    """
    table = study.settings.get("study", {})
    return render_fragment(
        TEMPLATES,
        "notebook.html",
        title=table.get("title") or table.get("name") or "Study",
        question=table.get("question", ""),
        answer=answer(study.verdicts, study.trials),
        cards=claim_cards(study.settings, study.verdicts),
        arm_table=arm_table(study.summaries),
        report=str(report) if report else "",
    )
