"""What one run of a study found, as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from bnkit.lab.report.claim_cards import SYMBOLS, effect_estimate
from bnkit.lab.report.trial_groups import KNOWN_METRICS, grid_key, grid_label
from bnkit.lab.store import Summary, Verdict
from bnkit.lab.study_pages.kept_result import KeptResult
from bnkit.lab.study_pages.markdown import cell, table
from bnkit.lab.study_pages.settings_table import differences
from bnkit.page.number_format import duration, estimate, number, p_value

# The one metric of a study whose grid has many points: a table of all four would be long.
_MAIN_METRIC = KNOWN_METRICS[0]


def found_text(result: KeptResult | None, profile: str, catalogue: Mapping[str, Any]) -> str:
    """Return the section on a profile: what was run, where, and every claim's verdict."""
    heading = f"### {profile.capitalize()} profile"
    if result is None:
        return f"{heading}\n\nNot run yet."
    parts = [heading, _run_text(result), _differences_text(result, catalogue)]
    parts += [_verdict_table(result.verdicts), _arms_text(result.summaries)]
    if result.notes:
        parts.append("\n".join(f"- {cell(note)}" for note in result.notes))
    return "\n\n".join(part for part in parts if part)


def tally(verdicts: Sequence[Verdict]) -> str:
    """Return how many claims ended how, as "2 supported, 1 inconclusive"."""
    counts = Counter(verdict.outcome for verdict in verdicts)
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in SYMBOLS if counts[outcome])


def machine_text(machine: Mapping[str, Any]) -> str:
    """Return a machine in words: "AMD EPYC, 2 cores, Linux"."""
    cores = machine.get("cores")
    words = [machine.get("accelerator"), machine.get("processor")]
    words += [f"{cores} cores" if cores else None, machine.get("system")]
    return ", ".join(str(word) for word in words if word)


def _run_text(result: KeptResult) -> str:
    where = " and ".join(f"{machine_text(machine)}" for machine in result.machines)
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    return (
        f"Run on {result.date} on {where}; commit {result.commit}; {versions}. Its "
        f"{result.trials} trials took {duration(result.seconds).text}, added up.\n\n"
        f"```sh\n{result.command}\n```"
    )


def _differences_text(result: KeptResult, catalogue: Mapping[str, Any]) -> str:
    found = differences(result.settings, catalogue)
    if not found:
        return ""
    rows = [[f"`{key}`", cell(run), cell(ours)] for key, run, ours in found]
    said = "Run with settings that the study file has otherwise today:"
    return f"{said}\n\n" + table(["setting", "this run", "study file"], rows)


def _verdict_table(verdicts: Sequence[Verdict]) -> str:
    if not verdicts:
        return "The study states no claims, so there is no verdict."
    headings = ["claim", "verdict", "effect", "95 % interval", "adjusted p", "seeds", "published"]
    return table(headings, [_verdict_row(verdict) for verdict in verdicts])


def _verdict_row(verdict: Verdict) -> list[str]:
    shown = effect_estimate(verdict, verdict.low, verdict.high)
    effect, interval = "–", "–"
    if verdict.effect is not None:
        bound = f"{verdict.effect_bound} " if verdict.effect_bound else ""
        effect = f"{verdict.effect_name} {bound}{shown.value.text}"
        interval = f"{shown.low.text} … {shown.high.text}" if shown.has_interval else "–"
    outcome = f"{SYMBOLS[verdict.outcome]} {verdict.outcome}"
    if verdict.winner:
        outcome += f", `{verdict.winner}`"
    if verdict.outcome == "inconclusive" and verdict.reason:
        outcome += f" ({cell(verdict.reason)})"
    p = "–" if verdict.p_adjusted is None else p_value(verdict.p_adjusted).text
    figures = (verdict.published or {}).items()
    published = ", ".join(f"{cell(arm)} {number(value).text}" for arm, value in figures) or "–"
    claim = f"{cell(verdict.text)} (`{verdict.id}`)"
    return [claim, outcome, effect, interval, p, str(verdict.seeds), published]


def _arms_text(summaries: Sequence[Summary]) -> str:
    if not summaries:
        return ""
    if any(summary.grid for summary in summaries):
        return _grid_table([s for s in summaries if s.metric == _MAIN_METRIC])
    by_arm: dict[str, dict[str, Summary]] = {}
    for summary in summaries:
        by_arm.setdefault(summary.arm, {})[summary.metric] = summary
    metrics = [name for name in KNOWN_METRICS if any(name in row for row in by_arm.values())]
    rows = [
        [f"`{arm}`", *(_figure(found.get(metric)) for metric in metrics)]
        for arm, found in by_arm.items()
    ]
    return _titled("", table(["arm", *metrics], rows))


def _grid_table(summaries: Sequence[Summary]) -> str:
    """Return the main metric: a row per grid point, a column per arm."""
    arms = list(dict.fromkeys(summary.arm for summary in summaries))
    points = {grid_key(summary.grid): summary.grid for summary in summaries}
    held = {(grid_key(summary.grid), summary.arm): summary for summary in summaries}
    rows = [
        [cell(grid_label(grid)), *(_figure(held.get((key, arm))) for arm in arms)]
        for key, grid in points.items()
    ]
    return _titled(f"{_MAIN_METRIC}, ", table(["", *(f"`{arm}`" for arm in arms)], rows))


def _titled(what: str, rows: str) -> str:
    return f"At the end of training: {what}mean over seeds and 95 % interval.\n\n{rows}"


def _figure(summary: Summary | None) -> str:
    if summary is None:
        return "–"
    shown = estimate(summary.mean, summary.low, summary.high)
    text = shown.value.text
    if shown.has_interval and summary.low != summary.high:
        text += f" ({shown.low.text} … {shown.high.text})"
    return text + (f", {summary.diverged} diverged" if summary.diverged else "")
