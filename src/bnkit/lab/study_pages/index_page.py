"""The index of the studies: each with its verdicts, and quick runs held against full ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bnkit.lab.report.claim_cards import SYMBOLS
from bnkit.lab.store import Verdict
from bnkit.lab.study_pages.found import tally
from bnkit.lab.study_pages.kept_result import KeptResult
from bnkit.lab.study_pages.markdown import cell, table
from bnkit.lab.study_pages.settings_table import differences
from bnkit.lab.study_pages.study_page import study_profiles

_OPPOSITES = {"supported", "refuted"}
_NOTE = " †"


class ClaimPair(NamedTuple):
    """A claim's verdicts in both profiles."""

    study: str
    quick: Verdict
    full: Verdict

    @property
    def contradict(self) -> bool:
        """Whether one profile supports what the other refutes."""
        return {self.quick.outcome, self.full.outcome} == _OPPOSITES


def index_page(names: Sequence[str], kept: Mapping[str, Mapping[str, KeptResult]]) -> str:
    """Return the index: a row per study, then a row per claim that was judged in both profiles."""
    rows = [_study_row(name, kept.get(name, {})) for name in names]
    parts = [
        "# Studies",
        f"{len(names)} studies come with bnkit. Each states what must hold if batch normalization "
        "does what is said of it, trains every arm over several seeds, and ends in a verdict per "
        "claim ([how it comes about](../guides/verdicts.md)). The quick profile trains on data "
        "that come along, about a minute on two cores; the full one has the data and the length "
        "of the article.",
        table(["study", "question", "quick", "full"], rows),
        f"{_NOTE.strip()} run with settings that the study file has otherwise today: the page of "
        "the study lists them.",
        "`make studies` runs all quick profiles one after the other and times them. "
        "`python -m bnkit.lab.study_pages docs/studies --keep runs/NAME --commit COMMIT` puts a "
        "finished run into these pages.",
        "## Quick against full",
        _comparison(claim_pairs(names, kept), kept),
    ]
    return "\n\n".join(parts) + "\n"


def claim_pairs(
    names: Sequence[str], kept: Mapping[str, Mapping[str, KeptResult]]
) -> list[ClaimPair]:
    """Return every claim that both profiles of a study judged."""
    found = []
    for name in names:
        results = kept.get(name, {})
        if {"quick", "full"} - results.keys():
            continue
        full = {verdict.id: verdict for verdict in results["full"].verdicts}
        found += [
            ClaimPair(name, verdict, full[verdict.id])
            for verdict in results["quick"].verdicts
            if verdict.id in full
        ]
    return found


def _study_row(name: str, results: Mapping[str, KeptResult]) -> list[str]:
    profiles = study_profiles(name)
    question = profiles["full"].to_dict()["study"].get("question", "")
    cells = []
    for profile in ("quick", "full"):
        result = results.get(profile)
        if profile not in profiles:
            cells.append("none")
        elif result is None:
            cells.append("not run yet")
        else:
            cells.append(tally(result.verdicts) + _mark(name, result))
    return [f"[{name}]({name}.md)", cell(question), *cells]


def _mark(name: str, result: KeptResult) -> str:
    profile = study_profiles(name).get(result.profile)
    same = profile is not None and not differences(result.settings, profile.to_dict())
    return "" if same else _NOTE


def _comparison(pairs: Sequence[ClaimPair], kept: Mapping[str, Mapping[str, KeptResult]]) -> str:
    if not pairs:
        return "No study was run in both profiles yet."
    names = list(dict.fromkeys(pair.study for pair in pairs))
    against = [pair for pair in pairs if pair.contradict]
    studies = f"{len(names)} studies that were" if len(names) > 1 else "the one study that was"
    counted = f"Of {len(pairs)} claims of {studies} run in both profiles, "
    if against:
        listed = "; ".join(f"{pair.study}, `{pair.quick.id}`" for pair in against)
        said = f"{counted}{len(against)} supported in one and refuted in the other: {listed}."
    else:
        said = f"{counted}none is supported in one and refuted in the other."
    rows = [
        [
            f"[{pair.study}]({pair.study}.md)",
            cell(pair.quick.text),
            _outcome(pair.quick) + _mark(pair.study, kept[pair.study]["quick"]),
            _outcome(pair.full) + _mark(pair.study, kept[pair.study]["full"]),
        ]
        for pair in pairs
    ]
    return f"{said}\n\n" + table(["study", "claim", "quick", "full"], rows)


def _outcome(verdict: Verdict) -> str:
    return f"{SYMBOLS[verdict.outcome]} {verdict.outcome}"
