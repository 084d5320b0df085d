"""Finding a study by name or path, and reading it with a profile and overrides merged in."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

from bnkit.errors import StudyError
from bnkit.inspection.target import is_target, resolve_target
from bnkit.lab.study.overrides import Settings, expand, overlay, remove
from bnkit.lab.study.spec import StudySettings, validate
from bnkit.lab.study.spec_errors import known_keys, unknown_key


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


def catalogue() -> list[str]:
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
    if str(study) in catalogue():
        text = (files("bnkit.lab.study") / "catalogue" / f"{study}.toml").read_text("utf-8")
        return StudySource(_parse(text, str(study)), Path.cwd(), f"study {study}", text)
    path = Path(study).expanduser()
    if path.suffix != ".toml":
        here = [found.name for found in path.parent.glob("*.toml")] if path.parent.is_dir() else []
        near = get_close_matches(path.name, [*catalogue(), *here], n=1)
        raise StudyError(
            f"there is no study {str(study)!r}",
            required=f"one of {', '.join(catalogue())}, or the path of a .toml file",
            remedy=f"Did you mean {near[0]!r}?" if near else "`bnkit study list` shows them",
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

    The order is file < profile < arm < grid < overrides: an overridden key is taken out of arms and
    grid, so that the override holds everywhere. Paths become absolute.

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
        content = overlay(content, profiles["quick"])
    for key, value in (overrides or {}).items():
        content = _override(content, key, value, source.where)
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
    known = (*known_keys()[""], "fingerprints")
    for key in content:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            raise StudyError(
                f"unknown key {key!r} at the top level",
                required=f"known tables are {', '.join(known_keys()[''])}",
                remedy=f"Did you mean {near[0]!r}?" if near else "",
                where=where,
            )


def _override(content: Settings, key: str, value: Any, where: str) -> Settings:
    table = key.split(".", maxsplit=1)[0]
    if table == "grid":
        grid = {**content.get("grid", {}), key.removeprefix("grid."): value}
        return {**content, "grid": grid}
    if table not in ("data", "network", "training") or "." not in key:
        raise unknown_key(key, "the overrides", where)
    # A path on the command line is relative to where the user stands, not to the study file.
    content = overlay(content, _with_absolute_paths(expand({key: value}), Path.cwd()))
    if isinstance(content.get("grid"), Mapping):
        content["grid"] = {k: v for k, v in content["grid"].items() if k != key}
    if isinstance(content.get("arms"), Mapping):
        content["arms"] = {
            arm: remove(table, key) if isinstance(table, Mapping) else table
            for arm, table in content["arms"].items()
        }
    return content


def _with_absolute_paths(content: Settings, folder: Path) -> Settings:
    arms = content.get("arms")
    if isinstance(arms, Mapping):
        resolved = {
            arm: _with_absolute_paths(dict(table), folder) if isinstance(table, Mapping) else table
            for arm, table in arms.items()
        }
        content = {**content, "arms": resolved}
    for table, key, make in (
        ("data", "path", _absolute_path),
        ("network", "name", _absolute_target),
        ("training", "loss", _absolute_target),
    ):
        inner = content.get(table)
        if isinstance(inner, Mapping) and isinstance(inner.get(key), str):
            content = {**content, table: {**inner, key: make(inner[key], folder)}}
    return content


def _absolute_path(text: str, folder: Path) -> str:
    return str((folder / Path(text).expanduser()).resolve())


def _absolute_target(text: str, folder: Path) -> str:
    return resolve_target(text, folder) if is_target(text) else text
