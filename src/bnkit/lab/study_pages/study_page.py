"""A study's page: question, set-up, how to run it, and what was found."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from bnkit.errors import StudyError
from bnkit.lab.data.names import SOURCES
from bnkit.lab.data.stored_sets import STORED_SETS
from bnkit.lab.study import StudySettings, find_study, plan, resolve
from bnkit.lab.study_pages.found import found_text
from bnkit.lab.study_pages.kept_result import KeptResult
from bnkit.lab.study_pages.markdown import cell, table
from bnkit.lab.study_pages.settings_table import (
    ABSENT,
    arm_rows,
    setting_rows,
    table_of,
    value_text,
)

# As a reader's file might be called.
OWN_NETWORK = "my_network.py:build"


def study_page(name: str, kept: Mapping[str, KeptResult]) -> str:
    """Return the page of a study of the catalogue.

    Args:
        name: of the study.
        kept: profile → what was found when it was last run; may lack both.
    """
    profiles = study_profiles(name)
    head = profiles["full"].to_dict()["study"]
    parts = [
        f"# {name}: {cell(head.get('title', name))}",
        f"**{cell(head.get('question', ''))}**",
    ]
    if head.get("source"):
        parts.append(f"Source: {cell(head['source'])}.")
    parts += [_set_up(profiles), _claims(profiles["full"]), _how_to_run(name, profiles)]
    parts.append("## What was found")
    # Longer runs on the article's own data say more, so they come first.
    for profile in profiles:
        parts.append(found_text(kept.get(profile), profile, profiles[profile].to_dict()))
    return "\n\n".join(parts) + "\n"


@cache
def study_profiles(name: str) -> dict[str, StudySettings]:
    """Return profile → settings: "full", and "quick" if the study has one."""
    source = find_study(name)
    found = {"full": resolve(source)}
    if "quick" in source.content.get("profiles", {}):
        found["quick"] = resolve(source, quick=True)
    return found


def _set_up(profiles: Mapping[str, StudySettings]) -> str:
    columns = {profile: setting_rows(study.to_dict()) for profile, study in profiles.items()}
    counts = {profile: str(len(plan(study))) for profile, study in profiles.items()}
    # What only one profile sets stands with its table.
    keys = sorted(dict.fromkeys(key for rows in columns.values() for key in rows), key=table_of)
    rows = [
        [f"`{key}`", *(cell(column.get(key, ABSENT)) for column in columns.values())]
        for key in keys
    ]
    rows.append(["trials", *counts.values()])
    content = profiles["full"].to_dict()
    arms = [
        [f"`{arm}`", f"`{own.get('norm', 'batch')}`", _assignments(arm_rows(own))]
        for arm, own in content["arms"].items()
    ]
    parts = [
        "## Set-up",
        table(["setting", *profiles], rows),
        table(["arm", "norm", "settings of its own"], arms),
    ]
    probes = [_probe_text(probe) for probe in content.get("probes") or []]
    if probes:
        parts.append(f"Probes: {', '.join(probes)}.")
    return "\n\n".join(parts)


def _probe_text(probe: Mapping[str, Any]) -> str:
    own = {key: value_text(value) for key, value in probe.items() if key != "kind"}
    said = _assignments(own)
    return f"`{probe['kind']}`" + (f" ({said})" if own else "")


def _assignments(values: Mapping[str, str]) -> str:
    return ", ".join(f"`{key} = {value}`" for key, value in values.items()) or ABSENT


def _claims(study: StudySettings) -> str:
    claims = study.to_dict().get("claims") or []
    if not claims:
        return "## Claims\n\nNone: curves and tables show what was measured."
    lines = [f"- `{claim['id']}`: {cell(claim['text'])}." for claim in claims]
    return "## Claims\n\n" + "\n".join(lines)


def _how_to_run(name: str, profiles: Mapping[str, StudySettings]) -> str:
    full = f"bnkit study run {name}"
    stored = [data for data in data_names(profiles["full"]) if SOURCES[data].is_stored]
    lines = [f"{full} --data-dir DIR" if stored else full]
    lines += [f"{full} --quick"] if "quick" in profiles else []
    said = [_data_text(data) for data in stored]
    if takes_any_network(name):
        lines.append(f"{lines[-1]} --set network.name={OWN_NETWORK}")
        said.append("The last line trains a network of your own.")
    said.append(
        "`--set data.name=folder --set data.path=…` takes images of your own "
        "([own data](../guides/own-data.md))."
    )
    return "## How to run\n\n```sh\n" + "\n".join(lines) + "\n```\n\n" + " ".join(said)


def takes_any_network(name: str) -> bool:
    """Return whether a study can train another network: no arm, grid or claim speaks of its own."""
    source = find_study(name)
    content = source.content
    of_the_network = [key for key in content.get("grid", {}) if key.startswith("network.args")]
    if of_the_network or any("network" in arm for arm in content.get("arms", {}).values()):
        return False
    try:
        resolve(source, overrides={"network.name": OWN_NETWORK})
    except StudyError:
        return False
    return True


def data_names(study: StudySettings) -> list[str]:
    """Return the names of all data that a study's trials are trained on."""
    return list(dict.fromkeys(trial.settings.data.name for trial in plan(study)))


def _data_text(name: str) -> str:
    what = STORED_SETS[name]
    said = (
        f"The full profile reads `{name}` ({cell(what.what)}) from DIR, or from bnkit's own folder"
    )
    if what.downloads:
        return f"{said} after `bnkit data fetch {name}`."
    return f"{said}; `bnkit data list` says where to get it."
