"""The report page: one HTML file that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from bnkit import page as pages
from bnkit.lab.report.answer import answer
from bnkit.lab.report.claim_cards import claim_cards
from bnkit.lab.report.figures import figures_of
from bnkit.lab.report.figures.words import diverged_count_as
from bnkit.lab.report.plot_data import plot_data
from bnkit.lab.report.plotly_script import plotly_source
from bnkit.lab.report.tables import arm_table, environment, trial_table
from bnkit.page.palette import appearance

if TYPE_CHECKING:
    from bnkit.lab.store.study_store import StoredStudy

TEMPLATES = Path(__file__).parent / "templates"
NO_STUDY = {"name": "", "title": "", "question": "", "source": ""}
SECTIONS = (
    [("verdicts", "Verdicts")],
    [("arms", "Arms"), ("trials", "Trials"), ("settings", "Settings")],
)
FIGURE_SECTIONS = (("curves", "Curves"), ("grid", "Across the grid"), ("probes", "Probes"))
# A longer table of trials starts folded.
OPEN_TRIALS = 40


def write_report(study: StoredStudy, path: Path) -> Path:
    """Write the report page of a study; a reader of `path` never sees half a page.

    Args:
        study: what `bnkit.lab.store.read_study` returns.
        path: the HTML file; its folder is made if it is missing.

    Returns:
        `path`.

    Raises:
        StoreError: the file cannot be written.
        MissingExtraError: plotly is not installed.
    """
    return pages.write_page(render_page(study), path, what="report")


def render_page(study: StoredStudy) -> str:
    """Return the page as text that UTF-8 can write: halves of surrogate pairs become "?"."""
    context, parts = figure_parts(study)
    before, after = SECTIONS
    return pages.render_page(
        TEMPLATES,
        "page.html",
        sections=[*before, *parts.sections, *after],
        style=parts.style,
        scripts=parts.scripts,
        data=parts.data,
        study={**NO_STUDY, **study.settings.get("study", {})},
        answer=answer(study.verdicts, study.trials),
        cards=claim_cards(study.settings, study.verdicts),
        arm_table=arm_table(study.summaries),
        trial_table=trial_table(study.trials, study.metrics),
        diverged=sum(trial.status == "diverged" for trial in study.trials),
        open_trials=OPEN_TRIALS,
        notes=study.notes,
        command=study.command,
        settings_toml=tomli_w.dumps(_without_none(study.settings)),
        versions=environment(study.trials, "versions"),
        machine=environment(study.trials, "machine"),
        **context,
    )


@dataclass(frozen=True)
class FigureParts:
    """What a page needs that has figures: names of sections, style, scripts, data."""

    sections: list[tuple[str, str]]
    style: str
    scripts: list[str]
    data: dict[str, Any]


def figure_parts(study: StoredStudy) -> tuple[dict[str, Any], FigureParts]:
    """Return what the templates of the figures show, and what their scripts need.

    Raises:
        MissingExtraError: plotly is not installed.
    """
    figures = figures_of(study.settings, study.trials, study.metrics, study.summaries)
    looks = [appearance(index) for index in range(len(figures.arms))]
    present = {"curves": True, "grid": figures.across, "probes": figures.probes}
    parts = FigureParts(
        sections=[(name, title) for name, title in FIGURE_SECTIONS if present[name]],
        style=_source("report.css"),
        scripts=[plotly_source(), _source("plots.js"), _source("report.js")] if figures.all else [],
        data={
            "plots": plot_data(figures.all),
            "arm-names": figures.arms,
            "looks": [asdict(look) for look in looks],
        },
    )
    context = {
        "arms": list(zip(figures.arms, looks, strict=True)),
        "figures": figures,
        "counted": diverged_count_as(study.trials),
    }
    return context, parts


def _source(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _without_none(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings without absent values, which TOML cannot write."""
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in table.items()
        if value is not None
    }
