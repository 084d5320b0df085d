"""Several studies on one page: their verdicts side by side, their curves in the same figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from bnkit import page as pages
from bnkit.lab.report.answer import Answer, answer
from bnkit.lab.report.claim_cards import SYMBOLS, effect_estimate
from bnkit.lab.report.page import TEMPLATES, figure_parts
from bnkit.lab.report.tables import arm_table
from bnkit.lab.store.study_store import StoredStudy
from bnkit.page.number_format import Estimate


@dataclass(frozen=True)
class Compared:
    """One of the studies: what it is called on the page, its question, its answer."""

    label: str
    question: str
    answer: Answer
    trials: int
    diverged: int


@dataclass(frozen=True)
class VerdictCell:
    """What one study says of a claim; `text` is the claim in its words."""

    outcome: str
    symbol: str
    text: str
    effect: Estimate


def write_comparison(studies: Mapping[str, StoredStudy], path: Path) -> Path:
    """Write the page that compares studies; a reader of `path` never sees half a page.

    Args:
        studies: what each is called → the study.
        path: the HTML file; its folder is made if it is missing.

    Returns:
        `path`.

    Raises:
        StoreError: the file cannot be written.
        MissingExtraError: plotly is not installed.
    """
    return pages.write_page(render_comparison(studies), path, what="comparison")


def render_comparison(studies: Mapping[str, StoredStudy]) -> str:
    """Return the page as text."""
    together = combined(studies)
    context, parts = figure_parts(together)
    sections = [("verdicts", "Verdicts"), *parts.sections, ("arms", "Arms")]
    return pages.render_page(
        TEMPLATES,
        "comparison.html",
        sections=sections,
        style=parts.style,
        scripts=parts.scripts,
        data=parts.data,
        studies=[_compared(label, study) for label, study in studies.items()],
        claims=_claims(studies),
        arm_table=arm_table(together.summaries),
        diverged=sum(trial.status == "diverged" for trial in together.trials),
        **context,
    )


def combined(studies: Mapping[str, StoredStudy]) -> StoredStudy:
    """Return the studies as one, whose arms are called "study: arm"."""
    arms: dict[str, Any] = {}
    trials, summaries, frames = [], [], []
    for label, study in studies.items():
        own = dict.fromkeys([*study.settings.get("arms", {}), *(t.arm for t in study.trials)])
        arms |= {f"{label}: {arm}": {} for arm in own}
        trials += [replace(t, id=f"{label}/{t.id}", arm=f"{label}: {t.arm}") for t in study.trials]
        summaries += [replace(row, arm=f"{label}: {row.arm}") for row in study.summaries]
        prefixed = pl.concat_str(pl.lit(f"{label}/"), pl.col("trial")).alias("trial")
        frames.append(study.metrics.with_columns(prefixed))
    return StoredStudy(
        settings={"arms": arms},
        trials=trials,
        metrics=pl.concat(frames),
        verdicts=[],
        summaries=summaries,
        notes=[],
        command="",
    )


def labels(folders: list[Path], studies: list[StoredStudy]) -> list[str]:
    """Return what each study is called: its name; with its folder where names are the same.

    Folders of the same name are told apart by the folder that holds them.
    """
    names = [str(study.settings.get("study", {}).get("name") or "study") for study in studies]
    places = [folder.resolve() for folder in folders]
    own = [place.name for place in places]
    found = [
        name
        if names.count(name) == 1
        else f"{name} ({place.name if own.count(place.name) == 1 else '/'.join(place.parts[-2:])})"
        for name, place in zip(names, places, strict=True)
    ]
    return [
        label if found.count(label) == 1 else f"{label} {place + 1}"
        for place, label in enumerate(found)
    ]


def _compared(label: str, study: StoredStudy) -> Compared:
    return Compared(
        label=label,
        question=str(study.settings.get("study", {}).get("question", "")),
        answer=answer(study.verdicts, study.trials),
        trials=len(study.trials),
        diverged=sum(trial.status == "diverged" for trial in study.trials),
    )


def _claims(studies: Mapping[str, StoredStudy]) -> list[tuple[str, list[VerdictCell | None]]]:
    """Return claim id → what each study says of it; None where it does not state it."""
    ids = dict.fromkeys(verdict.id for study in studies.values() for verdict in study.verdicts)
    rows = []
    for claim in ids:
        cells: list[VerdictCell | None] = []
        for study in studies.values():
            found = next((verdict for verdict in study.verdicts if verdict.id == claim), None)
            cells.append(
                None
                if found is None
                else VerdictCell(
                    found.outcome,
                    SYMBOLS[found.outcome],
                    found.text,
                    effect_estimate(found, found.low, found.high),
                )
            )
        rows.append((claim, cells))
    return rows
