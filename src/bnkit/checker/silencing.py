"""Findings silenced at one layer, each with a reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from bnkit.errors import CheckError
from bnkit.rules.registry import find_rule
from bnkit.rules.rule import Finding

_KEYS = ("code", "layer", "reason")


@dataclass(frozen=True)
class Silence:
    """One rule silenced at one layer.

    Attributes:
        code: code or name of the rule.
        layer: path of the layer; `*` stands for anything, as in "backbone.*". Empty is the model
            itself.
        reason: why; the report says it.
    """

    code: str
    layer: str
    reason: str

    def fits(self, finding: Finding) -> bool:
        """Return whether it silences a finding."""
        return self.code == finding.code and fnmatchcase(finding.layer, self.layer)


def read_silences(given: Iterable[Silence | Mapping[str, Any]]) -> tuple[Silence, ...]:
    """Return silences from what a user wrote: `Silence` objects or mappings with their keys.

    Raises:
        CheckError: a key is missing or unknown, the reason is empty, or there is no such rule.
    """
    found = []
    for item in given:
        table = vars(item) if isinstance(item, Silence) else item
        if not isinstance(table, Mapping) or set(table) != set(_KEYS):
            raise CheckError(
                f"silence holds {item!r}",
                required='each entry has code, layer and reason, such as {"code": "BN401", '
                '"layer": "features.0", "reason": "old checkpoints have it"}',
            )
        if not all(isinstance(value, str) for value in table.values()):
            raise CheckError(f"silence holds {item!r}", required="code, layer and reason are text")
        if not table["reason"].strip():
            raise CheckError(
                f"silence of {table['code']} at {table['layer'] or '(model)'} has no reason",
                required="a finding is silenced with a reason, which the report says",
            )
        found.append(Silence(find_rule(table["code"]).code, table["layer"], table["reason"]))
    return tuple(found)


def apply_silences(
    findings: Sequence[Finding], silences: Sequence[Silence]
) -> tuple[list[Finding], list[Silence]]:
    """Return the findings, those that are silenced with the reason, and the unused silences."""
    used: set[Silence] = set()
    result = []
    for finding in findings:
        fitting = next((silence for silence in silences if silence.fits(finding)), None)
        if fitting is None:
            result.append(finding)
        else:
            used.add(fitting)
            result.append(finding.silence(fitting.reason))
    return result, [silence for silence in silences if silence not in used]
