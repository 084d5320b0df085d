"""A report as text for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bnkit.rules.rule import INFO, Finding

if TYPE_CHECKING:
    from bnkit.checker.report import Report

# From so many layers on, those of which the same is said are one entry.
_MANY = 4
_COUNTED = {"E": ("error", "errors"), "W": ("warning", "warnings"), "I": ("info", "infos")}


def report_text(report: Report) -> str:
    """Return the findings, the silenced ones with their reasons, what did not run, and a total."""
    blocks = [_entry(group) for group in groups(report.active)]
    silenced = [finding for finding in report.findings if finding.silenced]
    if silenced:
        lines = [f"  {f.code} {f.name}, {f.layer or '(model)'}: {f.silenced}" for f in silenced]
        blocks.append("\n".join(["Silenced:", *lines]))
    if report.unused_silences:
        lines = [f"  {code}, {layer or '(model)'}" for code, layer in report.unused_silences]
        blocks.append("\n".join(["Silences that silenced nothing:", *lines]))
    if report.not_run:
        lines = [f"  {', '.join(codes)}: {why}" for why, codes in not_run_by_reason(report).items()]
        blocks.append("\n".join(["Not run:", *lines]))
    blocks.append(total(report, len(silenced)))
    return "\n\n".join(blocks)


def groups(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Return findings that differ in nothing but the layer together, in order.

    Infos of one rule are together whatever they say: a large network has hundreds.
    """
    found: dict[tuple[str, ...], list[Finding]] = {}
    for item in findings:
        message = "" if item.severity == INFO else item.message
        found.setdefault((item.code, item.severity, message, item.remedy), []).append(item)
    groups: list[list[Finding]] = []
    for group in found.values():
        groups += [group] if len(group) >= _MANY else [[item] for item in group]
    return groups


def _entry(group: Sequence[Finding]) -> str:
    first = group[0]
    places = [finding.layer or "(model)" for finding in group]
    place = places[0]
    if len(group) > 1:
        place = f"{places[0]}, {places[1]}, … {places[-1]} ({len(group)} layers)"
    message = sentence(first.message)
    if len({finding.message for finding in group}) > 1:
        message = f"At {places[0]}: {first.message}; of the others alike."
    safety = f" [{first.safety}]" if first.safety else ""
    return "\n".join(
        [
            f"{first.severity} {first.code} {first.name}: {place}",
            f"    {message}",
            f"    Remedy: {sentence(first.remedy)}{safety}",
        ]
    )


def sentence(text: str) -> str:
    """Return a clause as a sentence; a name in code keeps its case."""
    text = text[:1].upper() + text[1:] if not text.startswith(_KEPT_LOWER) else text
    return text if text.endswith((".", "?", "!")) else f"{text}."


# Names in code keep their case.
_KEPT_LOWER = ("running_", "weight", "bias", "momentum", "eps", "num_batches_tracked")


def not_run_by_reason(report: Report) -> dict[str, list[str]]:
    """Return the reasons for which rules did not run, each with their codes."""
    by_reason: dict[str, list[str]] = {}
    for item in report.not_run:
        by_reason.setdefault(item.reason, []).append(item.code)
    return by_reason


def total(report: Report, silenced: int) -> str:
    """Return how many layers were looked at, by how many rules, and what was found."""
    if not report.norms and not report.findings:
        return "The model has no normalization layer."
    layers = (
        "1 normalization layer" if report.norms == 1 else f"{report.norms} normalization layers"
    )
    counted = [
        f"{number} {_COUNTED[severity][number != 1]}"
        for severity, number in report.counts.items()
        if number
    ]
    found = ", ".join(counted) or "nothing found"
    rest = f" ({silenced} silenced)" if silenced else ""
    rules = "1 rule" if len(report.ran) == 1 else f"{len(report.ran)} rules"
    return f"{layers}, {rules} run: {found}{rest}."
