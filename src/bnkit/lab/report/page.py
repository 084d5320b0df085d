"""The report page: one HTML file that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import tomli_w

from bnkit._files import write_atomically
from bnkit.errors import StoreError
from bnkit.lab.report.answer import answer
from bnkit.lab.report.claim_cards import claim_cards
from bnkit.lab.report.curves import learning_curves
from bnkit.lab.report.embed import json_for_script, plotly_source, script_hash
from bnkit.lab.report.figures import metric_figures
from bnkit.lab.report.palette import ARM_COLOURS, BACKGROUNDS, appearance
from bnkit.lab.report.tables import arm_table, environment, trial_table
from bnkit.lab.report.trial_groups import arm_names

if TYPE_CHECKING:
    from bnkit.lab.store.study_store import StoredStudy

TEMPLATES = Path(__file__).parent / "templates"
NO_STUDY = {"name": "", "title": "", "question": "", "source": ""}
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
    page = render_page(study)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, page)
    except OSError as error:
        raise StoreError(
            f"cannot write the report to {path} ({error.strerror or error})",
            required="the path of a file in a writable folder",
            remedy="Choose another path",
        ) from error
    return path


def render_page(study: StoredStudy) -> str:
    """Return the page as text that UTF-8 can write: halves of surrogate pairs become "?"."""
    arms = arm_names(study.settings, study.trials)
    curves = learning_curves(study.settings, study.trials, study.metrics)
    figures = metric_figures(curves, arms)
    plots = {figure.id: figure.plot for metric in figures for figure in metric.figures}
    scripts = [plotly_source(), _source("report.js")] if plots else [_source("report.js")]
    text = (
        _environment()
        .get_template("page.html")
        .render(
            study={**NO_STUDY, **study.settings.get("study", {})},
            answer=answer(study.verdicts, study.trials),
            cards=claim_cards(study.settings, study.verdicts),
            arms=[(arm, appearance(index)) for index, arm in enumerate(arms)],
            metric_figures=figures,
            plots=json_for_script(plots),
            arm_table=arm_table(study.summaries),
            trial_table=trial_table(study.trials, study.metrics),
            diverged=sum(trial.status == "diverged" for trial in study.trials),
            open_trials=OPEN_TRIALS,
            notes=study.notes,
            command=study.command,
            settings_toml=tomli_w.dumps(_without_none(study.settings)),
            versions=environment(study.trials, "versions"),
            machine=environment(study.trials, "machine"),
            style=_source("report.css"),
            colours=ARM_COLOURS,
            backgrounds=BACKGROUNDS,
            scripts=scripts,
            script_hashes=" ".join(script_hash(script) for script in scripts),
        )
    )
    return text.encode("utf-8", errors="replace").decode("utf-8")


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _source(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _without_none(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings without absent values, which TOML cannot write."""
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in table.items()
        if value is not None
    }
