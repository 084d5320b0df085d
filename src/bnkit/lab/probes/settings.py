"""The `[[probes]]` tables of a study file; imports no torch."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, model_validator

from bnkit.errors import ProbeError, did_you_mean
from bnkit.lab.probes.names import PROBES
from bnkit.lab.probes.when import When


class ProbeSettings(BaseModel):
    """A probe that every trial runs.

    Attributes:
        kind: a key of `PROBES`.
        when: a number k (every k steps), a list of steps, "epoch", "checkpoint", "end" or "log";
            None leaves it to the probe.
        layers: where it looks, by path pattern or kind ("input of every batch norm"); None leaves
            it to the probe.

    Further keys are the probe's own options.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: str
    when: int | str | tuple[int, ...] | None = None
    layers: str | tuple[str, ...] | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The probe's own options, as stated."""
        return dict(self.model_extra or {})

    @model_validator(mode="after")
    def _can_be_made(self) -> Self:
        check_probe(self.kind, self.options)
        When.parse(PROBES[self.kind].when if self.when is None else self.when)
        if self.layers is not None and not PROBES[self.kind].layers:
            raise ProbeError(
                f"the probe {self.kind!r} looks at no layers", remedy="Leave layers out"
            )
        return self


def check_probe(kind: str, options: dict[str, Any]) -> None:
    """Refuse a probe that does not exist, or options that it does not have.

    Raises:
        ProbeError: the message.
    """
    if kind not in PROBES:
        raise ProbeError(
            f"there is no probe {kind!r}",
            required=f"one of {', '.join(PROBES)}",
            remedy=did_you_mean(kind, PROBES),
        )
    known = PROBES[kind].options
    for name, value in options.items():
        if name not in known:
            raise ProbeError(
                f"the probe {kind!r} has no option {name!r}",
                required=f"its options are {', '.join(['when', 'layers', *known])}",
                remedy=did_you_mean(name, known),
            )
        if not _is_like(value, known[name]):
            raise ProbeError(
                f"{name} = {value!r} of the probe {kind!r}",
                required=f"a value such as {known[name]!r}",
            )


def _is_like(value: Any, default: Any) -> bool:
    """Return whether a value is of the kind of a default: a number, a word, a list of these."""
    if default is None:
        return True
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    if isinstance(default, list | tuple):
        is_list = isinstance(value, list | tuple) and len(value) > 0
        return is_list and all(not default or _is_like(item, default[0]) for item in value)
    return isinstance(value, type(default))
