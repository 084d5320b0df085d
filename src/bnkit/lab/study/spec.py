"""A study file → validated settings and the list of its trials."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bnkit.errors import StudyError
from bnkit.lab.data.settings import DataSettings
from bnkit.lab.networks.settings import NetworkSettings
from bnkit.lab.probes.names import recorded_metrics
from bnkit.lab.probes.settings import ProbeSettings
from bnkit.lab.study.arm_names import check_norm
from bnkit.lab.study.claim_checks import check_grid, check_metric
from bnkit.lab.study.claim_settings import ClaimSettings
from bnkit.lab.study.defaults import DEFAULT_ARMS, DEFAULT_CLAIMS, DEFAULT_SEEDS
from bnkit.lab.study.overrides import Settings, expand, overlay
from bnkit.lab.study.spec_errors import unknown_key, validation_message
from bnkit.lab.training.settings import TrainingSettings

TRIAL_TABLES = ("data", "network", "training")

ArmName = Annotated[str, Field(min_length=1)]


class StudyTable(BaseModel):
    """The `[study]` table: what the study is called and what it asks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    title: str = ""
    question: str = ""
    source: str = ""


class TrialSettings(BaseModel):
    """All that determines one trial but its seed.

    Attributes:
        data, network, training: as the tables of the study file.
        norm: what the arm makes of the network's batch norms.
        norm_share: share of the batch norms that `norm` applies to, evenly spread; the others are
            removed. None for all.
        probes: what is measured.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: DataSettings
    network: NetworkSettings
    training: TrainingSettings
    norm: str = "batch"
    norm_share: Annotated[float, Field(gt=0, le=1, strict=True)] | None = None
    probes: tuple[ProbeSettings, ...] = ()


class StudySettings(BaseModel):
    """A whole study file after profiles and command-line overrides were merged into it.

    Attributes:
        study: name, title, question, source.
        data, network, training: the settings that all arms share, before their overrides.
        arms: arm → its `norm` and its overrides.
        grid: `seed` and any dotted key → list of values.
        probes: what every trial measures beside its losses and accuracies.
        claims: what is to be judged.
        overrides: settings from the command line, laid over each trial's last.
        fingerprints: hashes of data, network and loss, written into the resolved file of a run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    study: StudyTable
    data: Mapping[str, Any]
    network: Mapping[str, Any]
    training: Mapping[str, Any]
    arms: Annotated[Mapping[ArmName, Mapping[str, Any]], Field(min_length=1)]
    grid: Mapping[str, Annotated[list[Any], Field(min_length=1)]]
    probes: tuple[ProbeSettings, ...] = ()
    claims: tuple[ClaimSettings, ...] = ()
    overrides: Mapping[str, Any] = Field(default_factory=dict)
    fingerprints: Mapping[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _claims_name_arms(self) -> Self:
        ids = [claim.id for claim in self.claims]
        for claim_id in ids:
            if ids.count(claim_id) > 1:
                raise ValueError(f"two claims have the id {claim_id!r}; ids must be unique")
        for claim in self.claims:
            for arm in (claim.better, claim.than):
                if arm is not None and arm not in self.arms:
                    names = ", ".join(self.arms)
                    raise ValueError(f"claim {claim.id!r} names arm {arm!r}; the arms are {names}")
            for key in [*claim.where, *([claim.along] if claim.along else [])]:
                if key not in self.grid:
                    raise ValueError(f"claim {claim.id!r} names {key!r}, which is not in [grid]")
        return self

    @model_validator(mode="after")
    def _probes_record_different_metrics(self) -> Self:
        kinds = [probe.kind for probe in self.probes]
        for kind in kinds:
            if kinds.count(kind) > 1:
                raise ValueError(
                    f"two probes are of the kind {kind!r}; give one of them all the layers"
                )
        return self

    @model_validator(mode="after")
    def _claims_can_be_judged(self) -> Self:
        metrics = recorded_metrics(probe.kind for probe in self.probes)
        for claim in self.claims:
            check_metric(claim, metrics)
            check_grid(claim, self.grid)
            for arm in claim.published or {}:
                if arm not in self.arms:
                    raise ValueError(f"claim {claim.id!r} has a published figure of arm {arm!r}")
        return self

    @property
    def seeds(self) -> list[int]:
        """The seeds, in the order given."""
        return list(self.grid["seed"])

    def to_dict(self) -> Settings:
        """Return the settings as a study file holds them."""
        content = self.model_dump(mode="json", exclude_none=True, exclude={"fingerprints"})
        claims = [claim.model_dump(mode="json", exclude_defaults=True) for claim in self.claims]
        return {**content, "claims": claims}


class PlannedTrial(BaseModel):
    """One trial of the plan: arm × grid point × seed, with its settings resolved."""

    model_config = ConfigDict(frozen=True)

    arm: str
    seed: int
    grid: Mapping[str, Any]
    settings: TrialSettings


def validate(content: Mapping[str, Any], where: str) -> StudySettings:
    """Check a study file's content, already merged with profile and command line.

    Args:
        content: the file as nested dictionaries.
        where: what error messages begin with, such as the file's name.

    Raises:
        StudyError: something is missing, unknown, or of a wrong type or value.
    """
    filled = {**content}
    filled.setdefault("arms", DEFAULT_ARMS)
    arms = filled["arms"]
    if "claims" not in content and isinstance(arms, Mapping) and {*arms} >= {*DEFAULT_ARMS}:
        filled["claims"] = DEFAULT_CLAIMS
    grid = filled.get("grid")
    if grid is None or (isinstance(grid, Mapping) and "seed" not in grid):
        filled["grid"] = {**(grid or {}), "seed": DEFAULT_SEEDS}
    try:
        settings = StudySettings.model_validate(filled)
    except ValidationError as error:
        raise StudyError(**validation_message(error), where=where) from error
    _check_grid(settings, where)
    plan(settings, where)
    return settings


def plan(settings: StudySettings, where: str = "study") -> list[PlannedTrial]:
    """Return every trial: arms × grid points × seeds, in this order.

    Raises:
        StudyError: an arm or a grid point has settings that are not valid together.
    """
    base = {table: getattr(settings, table) for table in TRIAL_TABLES}
    base["probes"] = settings.probes
    _trial_settings(overlay(base, settings.overrides), where)
    keys = [key for key in settings.grid if key != "seed"]
    points = list(itertools.product(*(settings.grid[key] for key in keys)))
    trials = []
    for arm, overrides in settings.arms.items():
        seen: dict[str, Mapping[str, Any]] = {}
        for values in points:
            point = dict(zip(keys, values, strict=True))
            varied = overlay(overlay(base, overrides), expand(point), by_name=False)
            merged = overlay(varied, settings.overrides)
            place = f"{where}: [arms.{arm}]" + (f" at {point}" if point else "")
            resolved = _trial_settings(merged, place)
            twin = seen.setdefault(resolved.model_dump_json(), point)
            if twin is not point:
                raise StudyError(
                    f"the grid points {twin} and {point} are the same settings",
                    required="each grid point trains something else",
                    remedy="Leave one of them out",
                    where=place,
                )
            trials += [
                PlannedTrial(arm=arm, seed=seed, grid=point, settings=resolved)
                for seed in settings.seeds
            ]
    return trials


def _trial_settings(merged: Settings, where: str) -> TrialSettings:
    try:
        settings = TrialSettings.model_validate(merged)
    except ValidationError as error:
        raise StudyError(**validation_message(error, table="arms"), where=where) from error
    check_norm(settings.norm, where)
    if settings.norm == "none" and settings.norm_share is not None:
        raise StudyError(
            f'norm = "none" with norm_share = {settings.norm_share:g}',
            required="a share of the batch norms that are kept, and this arm keeps none",
            remedy="Leave out norm_share",
            where=where,
        )
    return settings


def _check_grid(settings: StudySettings, where: str) -> None:
    for seed in settings.seeds:
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
            raise StudyError(
                f"grid.seed holds {seed!r}", required="seeds are whole numbers from 0", where=where
            )
    for key, values in settings.grid.items():
        if any(values.count(value) > 1 for value in values):
            raise StudyError(
                f"grid.{key} = {values}", required="each value may stand there once", where=where
            )
        if key != "seed" and key.split(".")[0] not in TRIAL_TABLES:
            raise unknown_key(key, where)
