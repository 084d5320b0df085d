"""A report as a page, and as a piece of a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnkit import page as pages
from bnkit.checker.report_text import groups, not_run_by_reason, sentence, total
from bnkit.rules.registry import all_rules_by_code
from bnkit.rules.rule import ERROR, WARNING, Finding

if TYPE_CHECKING:
    from bnkit.checker.report import Report

TEMPLATES = Path(__file__).parent / "templates"
MODEL = "(model)"
_WORDS = {"E": "error", "W": "warning", "I": "info"}
_SECTIONS = {"findings": "Findings", "silenced": "Silenced", "not-run": "Not run"}


def report_page(report: Report) -> str:
    """Return the report as one HTML file that opens offline."""
    content = _content(report)
    shown = {
        "findings": True,
        "silenced": content["silenced"] or content["unused"],
        "not-run": content["not_run"],
    }
    return pages.render_page(
        TEMPLATES,
        "check.html",
        sections=[(name, title) for name, title in _SECTIONS.items() if shown[name]],
        style=(TEMPLATES / "check.css").read_text(encoding="utf-8"),
        **content,
    )


def report_fragment(report: Report) -> str:
    """Return the report as HTML for a notebook's cell."""
    return pages.render_fragment(TEMPLATES, "check_cell.html", **_content(report))


def _content(report: Report) -> dict[str, Any]:
    silenced = [finding for finding in report.findings if finding.silenced]
    return {
        "target": report.target or "Model",
        "total": total(report, len(silenced)),
        "tone": "refuted" if report.counts[ERROR] + report.counts[WARNING] else "supported",
        "entries": [_entry(group) for group in groups(report.active)],
        "silenced": [(f.code, f.name, f.layer or MODEL, f.silenced) for f in silenced],
        "unused": [(code, layer or MODEL) for code, layer in report.unused_silences],
        "not_run": [(", ".join(codes), why) for why, codes in not_run_by_reason(report).items()],
    }


def _entry(group: Sequence[Finding]) -> dict[str, Any]:
    """Return what is shown of findings that differ in the layer, and infos in the message."""
    first = group[0]
    rule = all_rules_by_code().get(first.code)
    is_alike = len({finding.message for finding in group}) == 1
    return {
        "severity": _WORDS[first.severity],
        "code": first.code,
        "name": first.name,
        "layers": [finding.layer or MODEL for finding in group],
        "message": sentence(first.message) if is_alike else "",
        "messages": [] if is_alike else [(f.layer or MODEL, sentence(f.message)) for f in group],
        "remedy": sentence(first.remedy),
        "safety": first.safety,
        "why": rule.why if rule else "",
        "fine": rule.fine if rule else "",
    }
