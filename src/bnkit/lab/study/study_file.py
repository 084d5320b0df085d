"""Finding a study by name or path, and reading it with a profile and overrides merged in."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from bnkit.errors import StudyError, did_you_mean
from bnkit.inspection.target import is_target, resolve_target
from bnkit.lab.study.overrides import Settings, expand, leaves_grid, overlay
from bnkit.lab.study.spec import TRIAL_TABLES, StudySettings, validate
from bnkit.lab.study.spec_errors import known_keys, unknown_override


@dataclass(frozen=True)
class StudySource:
    """A study's content before it is validated.

    Attributes:
        content: the file as nested dictionaries.
        folder: what relative paths in it are relative to.
        where: how error messages name it.
        text: the file as written; empty if it came from a dictionary.
    """

    content: Settings
    folder: Path
    where: str
    text: str = ""


def study_names() -> list[str]:
    """Return the names of the studies that come with bnkit."""
    folder = files("bnkit.lab.study") / "catalogue"
    return sorted(
        item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml")
    )


def find_study(study: str | Path | Mapping[str, Any]) -> StudySource:
    """Return a study's content: from the catalogue by name, from a file, or as given.

    Raises:
        StudyError: there is no such study or file, or it is not valid TOML.
    """
    if isinstance(study, Mapping):
        return StudySource(dict(study), Path.cwd(), "study")
    if str(study) in study_names():
        text = (files("bnkit.lab.study") / "catalogue" / f"{study}.toml").read_text("utf-8")
        return StudySource(_parse(text, str(study)), Path.cwd(), f"study {study}", text)
    path = Path(study).expanduser()
    if path.suffix != ".toml":
        here = [found.name for found in path.parent.glob("*.toml")] if path.parent.is_dir() else []
        raise StudyError(
            f"there is no study {str(study)!r}",
            required=f"one of {', '.join(study_names())}, or the path of a .toml file",
            remedy=did_you_mean(path.name, [*study_names(), *here])
            or "`bnkit study list` shows them",
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StudyError(
            f"cannot read the study file {path} ({reason})",
            required="a readable .toml file in UTF-8",
            remedy="Check the path, or name a study of `bnkit study list`",
        ) from error
    content = _parse(text, str(path))
    table = content.setdefault("study", {})
    if isinstance(table, dict):
        table.setdefault("name", path.stem)
    return StudySource(content, path.parent.resolve(), str(path), text)


def resolve(
    source: StudySource,
    *,
    quick: bool = False,
    overrides: Mapping[str, Any] | None = None,
) -> StudySettings:
    """Merge profile and overrides into a study and validate it.

    The order is file < profile < arm < grid < overrides. An overridden key leaves the grid. Paths
    become absolute.

    Args:
        source: the study.
        quick: merge `[profiles.quick]`.
        overrides: dotted key → value; `grid.seed` sets the seeds.

    Raises:
        StudyError: anything about the study is wrong.
    """
    content = dict(source.content)
    profiles = content.pop("profiles", {})
    content.pop("fingerprints", None)
    _refuse_unknown_tables(content, source.where)
    if quick:
        if not isinstance(profiles, Mapping) or "quick" not in profiles:
            raise StudyError(
                "--quick was given and the study has no [profiles.quick]",
                required="a quick profile in the study file",
                remedy="Leave --quick out, or use --seeds and --set",
                where=source.where,
            )
        if not isinstance(profiles["quick"], Mapping):
            raise StudyError(
                f"profiles.quick = {profiles['quick']!r}",
                required="a table of settings to lay over the file",
                where=source.where,
            )
        content = overlay(content, profiles["quick"])
    content = _overridden(content, overrides or {}, source.where)
    return validate(_with_absolute_paths(content, source.folder), source.where)


def _parse(text: str, where: str) -> Settings:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise StudyError(
            f"not valid TOML: {error}",
            required="a study file is TOML",
            remedy="Mend that line",
            where=where,
        ) from error


def _refuse_unknown_tables(content: Mapping[str, Any], where: str) -> None:
    known = (*known_keys()[""], "overrides", "fingerprints")
    for key in content:
        if key not in known:
            raise StudyError(
                f"unknown key {key!r} at the top level",
                required=f"known tables are {', '.join(known_keys()[''])}",
                remedy=did_you_mean(key, known),
                where=where,
            )


def _overridden(content: Settings, overrides: Mapping[str, Any], where: str) -> Settings:
    """Return the content with overrides kept apart, to be laid over each trial's settings last."""
    grid_keys = [key for key in overrides if key.split(".")[0] == "grid"]
    others = {key: value for key, value in overrides.items() if key not in grid_keys}
    for key in others:
        if key.split(".")[0] not in TRIAL_TABLES or "." not in key:
            raise unknown_override(key, where)
    grid = {
        key: values
        for key, values in _table(content, "grid").items()
        if not any(leaves_grid(key, overridden) for overridden in others)
    }
    _refuse_claims_about(set(_table(content, "grid")) - set(grid), content, where)
    grid |= {key.removeprefix("grid."): overrides[key] for key in grid_keys}
    if others:
        # A path on the command line is relative to where the user stands, not to the study file.
        given = _with_absolute_paths(expand(others), Path.cwd())
        kept = overlay(_table(content, "overrides"), given)
        content = {**overlay(content, given), "overrides": kept}
    return {**content, "grid": grid} if grid or "grid" not in content else content


def _refuse_claims_about(keys: set[str], content: Settings, where: str) -> None:
    claims = content.get("claims")
    for claim in claims if isinstance(claims, list) else []:
        if not isinstance(claim, Mapping):  # `validate` refuses it
            continue
        spoken_of = {*_table(claim, "where"), claim.get("along")} & keys
        if spoken_of:
            raise StudyError(
                f"{spoken_of.pop()} is overridden, and the claim {claim.get('id')!r} speaks of it",
                required="an overridden key has one value and leaves the grid",
                remedy="Leave the override out, or change the claim",
                where=where,
            )


def _table(content: Mapping[str, Any], name: str) -> Settings:
    """Return a table of the study, empty if it is missing or is none: `validate` refuses that."""
    table = content.get(name)
    return dict(table) if isinstance(table, Mapping) else {}


def _with_absolute_paths(content: Settings, folder: Path) -> Settings:
    arms = content.get("arms")
    if isinstance(arms, Mapping):
        resolved = {
            arm: _with_absolute_paths(dict(table), folder) if isinstance(table, Mapping) else table
            for arm, table in arms.items()
        }
        content = {**content, "arms": resolved}
    content = _with_absolute_grid(content, folder)
    for table, key, make in (
        ("data", "path", _absolute_path),
        ("network", "name", _absolute_target),
        ("training", "loss", _absolute_target),
    ):
        inner = content.get(table)
        if isinstance(inner, Mapping) and isinstance(inner.get(key), str | Path):
            content = {**content, table: {**inner, key: make(str(inner[key]), folder)}}
    return content


def _with_absolute_grid(content: Settings, folder: Path) -> Settings:
    grid = _table(content, "grid")
    for key, make in (
        ("data.path", _absolute_path),
        ("network.name", _absolute_target),
        ("training.loss", _absolute_target),
    ):
        if isinstance(grid.get(key), list):
            grid[key] = [make(str(value), folder) for value in grid[key]]
    return {**content, "grid": grid} if grid else content


def _absolute_path(text: str, folder: Path) -> str:
    return str((folder / Path(text).expanduser()).resolve())


def _absolute_target(text: str, folder: Path) -> str:
    """Return a target that names its file wherever the study is run from.

    A module that lies in the folder becomes its file; a module that is installed stays as it is.
    """
    if not is_target(text):
        return text
    place, _, attribute = text.rpartition(":")
    file = folder.joinpath(*place.split(".")).with_suffix(".py")
    if not place.endswith(".py") and file.is_file():
        return f"{file.resolve()}:{attribute}"
    return resolve_target(text, folder)
