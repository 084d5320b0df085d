"""What a check returns: findings, and which rules ran and which did not. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from bnkit.rules.rule import ERROR, SEVERITIES, WARNING, Finding

__all__ = ["Finding", "NotRun", "Report"]


@dataclass(frozen=True)
class NotRun:
    """A rule that was selected and could not run.

    Attributes:
        code, name: of the rule.
        reason: what it needs that was not given, as a clause.
    """

    code: str
    name: str
    reason: str


@dataclass(frozen=True)
class Report:
    """The result of a check.

    Attributes:
        findings: all of them, errors first, then in the order of the layers; silenced ones too.
        ran: codes of the rules that ran.
        not_run: rules that could not, each with what it needs.
        norms: how many normalization layers the model has.
        unused_silences: (code, layer) of silences that silenced nothing.
        target: what was checked, as the user named it; else the model's class.
        example: what the model was run on, by which `bnkit.fix` measures; None if it was not run.
            It is in none of the outputs.
    """

    findings: tuple[Finding, ...]
    ran: tuple[str, ...]
    not_run: tuple[NotRun, ...]
    norms: int
    unused_silences: tuple[tuple[str, str], ...] = ()
    target: str = ""
    example: Any = field(default=None, repr=False, compare=False)

    @cached_property
    def active(self) -> tuple[Finding, ...]:
        """The findings that were not silenced."""
        return tuple(finding for finding in self.findings if not finding.silenced)

    @property
    def counts(self) -> Mapping[str, int]:
        """Severity → number of findings that were not silenced."""
        return {s: sum(found.severity == s for found in self.active) for s in SEVERITIES}

    @property
    def exit_code(self) -> int:
        """1 if an error or a warning was found that was not silenced, else 0."""
        return int(self.counts[ERROR] + self.counts[WARNING] > 0)

    def to_text(self) -> str:
        """Return the report for people; many findings that say the same are one entry."""
        from bnkit.checker.report_text import report_text

        return report_text(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-able data."""
        return {
            "target": self.target,
            "norms": self.norms,
            "counts": dict(self.counts),
            "findings": [asdict(finding) for finding in self.findings],
            "ran": list(self.ran),
            "not_run": [asdict(item) for item in self.not_run],
            "unused_silences": [list(item) for item in self.unused_silences],
            "exit_code": self.exit_code,
        }

    def to_json(self) -> str:
        """Return the report for programs."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    def to_sarif(self) -> str:
        """Return the report in SARIF 2.1.0, which code hosts show."""
        from bnkit.checker.sarif import sarif_log

        return json.dumps(sarif_log(self), indent=2, ensure_ascii=False)

    def to_html(self) -> str:
        """Return the report as a page: one HTML file that opens offline."""
        from bnkit.checker.report_html import report_page

        return report_page(self)

    def _repr_html_(self) -> str:
        from bnkit.checker.report_html import report_fragment

        return report_fragment(self)

    def __str__(self) -> str:
        return self.to_text()
