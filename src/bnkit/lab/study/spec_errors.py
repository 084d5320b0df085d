"""Validation errors in the words of a study file: which key, what was given, what is required."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, TypedDict, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from bnkit.errors import StudyError, did_you_mean
from bnkit.lab.data.settings import DataSettings
from bnkit.lab.networks.settings import InitSettings, NetworkSettings
from bnkit.lab.probes.settings import ProbeSettings
from bnkit.lab.study.claim_settings import ClaimSettings
from bnkit.lab.training.settings import (
    EarlyStoppingSettings,
    OptimizerSettings,
    ScheduleSettings,
    TrainingSettings,
)


def _by_name(union: Any) -> dict[str, type[BaseModel]]:
    """Return name → table, of a union of tables that `name` tells apart."""
    while get_origin(union) is Annotated:
        union = get_args(union)[0]
    return {get_args(model.model_fields["name"].annotation)[0]: model for model in get_args(union)}


# Table → what its `name` can be, and the keys that go with it.
_NAMED_TABLES = {
    "network.init": _by_name(InitSettings),
    "training.optimizer": _by_name(OptimizerSettings),
    "training.schedule": _by_name(ScheduleSettings),
}


_OVERRIDABLE = ("data", "network", "training")
_IN_OUR_WORDS = {
    "string_pattern_mismatch": "letters, digits, dots, dashes and underscores, no spaces",
    "too_short": "at least one must be given",
    "list_type": "it should be a list of values in [ ]",
    "mapping_type": "it should be a table",
    "dict_type": "it should be a table",
    "model_type": "it should be a table",
}


class _Message(TypedDict):
    given: str
    required: str
    remedy: str


def known_keys() -> dict[str, tuple[str, ...]]:
    """Return table → the keys it may hold; the top level is the table ""."""
    named = {
        table: tuple(sorted({key for model in models.values() for key in model.model_fields}))
        for table, models in _NAMED_TABLES.items()
    }
    return {
        "": (
            "study",
            "data",
            "network",
            "training",
            "grid",
            "arms",
            "probes",
            "claims",
            "profiles",
        ),
        "study": ("name", "title", "question", "source"),
        "data": tuple(DataSettings.model_fields),
        "network": tuple(NetworkSettings.model_fields),
        "training": tuple(TrainingSettings.model_fields),
        "training.early_stopping": tuple(EarlyStoppingSettings.model_fields),
        **named,
        "probes": tuple(ProbeSettings.model_fields),
        "claims": tuple(ClaimSettings.model_fields),
        "arms": ("norm", "data", "network", "training"),
    }


def validation_message(error: ValidationError, table: str = "") -> _Message:
    """Return the first of pydantic's errors as given, required, remedy.

    Args:
        error: what pydantic found.
        table: the table whose keys are known where no other table is named.
    """
    details = error.errors(include_url=False)
    # An unknown key is often the cause of the others: the key it was meant to be is missing.
    first = next((d for d in details if d["type"] == "extra_forbidden"), details[0])
    location = [part for index, part in enumerate(first["loc"]) if not _is_tag(first["loc"], index)]
    key = ".".join(str(part) for part in location)
    if first["type"] == "extra_forbidden":
        return _unknown_key_message(location, table, first["loc"])
    if first["type"] == "missing":
        return _Message(given=f"{key} is missing", required="it must be given", remedy="")
    if first["type"] == "value_error":
        place = f"{key}: " if key.startswith(("claims", "probes")) else ""
        return _Message(given=f"{place}{first['ctx']['error']}", required="", remedy="")
    if first["type"].startswith("union_tag"):
        names = ", ".join(_NAMED_TABLES[key])
        return _Message(
            given=f"{key}.name = {_tag(first)!r}", required=f"one of {names}", remedy=""
        )
    if first["type"] == "literal_error":
        return _choice_message(key, first)
    required = _IN_OUR_WORDS.get(first["type"]) or _lower_first(first["msg"]).replace(
        "input should", "it should"
    )
    given = f"{key} = {first['input']!r}" if key else repr(first["input"])
    return _Message(given=given, required=required, remedy="")


def _choice_message(key: str, details: ErrorDetails) -> _Message:
    """Return the message for a word that is none of those to choose from."""
    expected = details["ctx"]["expected"]
    near = did_you_mean(str(details["input"]), expected.split("'")[1::2])
    return _Message(
        given=f"{key} = {details['input']!r}", required=f"it should be {expected}", remedy=near
    )


def unknown_key(key: str, where: str) -> StudyError:
    """Return the error for a grid key that no table knows, with the nearest one that is known."""
    return StudyError(
        f"unknown key {key!r} in [grid]",
        required="a dotted key of [data], [network] or [training], or seed",
        remedy=_nearest_dotted(key),
        where=where,
    )


def unknown_override(key: str, where: str) -> StudyError:
    """Return the error for an override of what cannot be overridden."""
    return StudyError(
        f"{key!r} cannot be overridden",
        required="a dotted key of [data], [network] or [training], or grid.KEY; names, arms and "
        "claims are set in the study file",
        remedy=_nearest_dotted(key),
        where=where,
    )


def _nearest_dotted(key: str) -> str:
    candidates = [
        f"{owner}.{name}"
        for owner, names in known_keys().items()
        if owner.startswith(_OVERRIDABLE)
        for name in names
    ]
    table = key.partition(".")[0]
    if table in known_keys()[""] and (table == key or table not in _OVERRIDABLE):
        return ""
    same_end = [found for found in candidates if found.endswith(f".{key}")]
    return f"Did you mean {same_end[0]!r}?" if same_end else did_you_mean(key, candidates)


def _unknown_key_message(
    location: Sequence[Any], default: str, full_location: Sequence[Any]
) -> _Message:
    *parents, name = location
    table = ".".join(str(part) for part in parents if not isinstance(part, int))
    keys: Sequence[str] = known_keys().get(table or default, ())
    for index, part in enumerate(full_location):
        if _is_tag(full_location, index):
            keys = tuple(_NAMED_TABLES[table][part].model_fields)
    place = f"in [{table}]" if table else "at the top level"
    return _Message(
        given=f"unknown key {name!r} {place}",
        required=f"known keys are {_listed(keys)}" if keys else "",
        remedy=did_you_mean(str(name), keys),
    )


def _is_tag(location: Sequence[Any], index: int) -> bool:
    """Return whether a part of a location is not a key, but the name that chose its table."""
    above = ".".join(str(part) for part in location[:index])
    return location[index] in _NAMED_TABLES.get(above, ())


def _tag(details: ErrorDetails) -> Any:
    given = details["input"]
    return given.get("name") if isinstance(given, dict) else given


def _listed(keys: Iterable[str]) -> str:
    return ", ".join(keys)


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
