"""The answer of a study in one sentence, drawn from its verdicts and nothing else.

It says what became of the claims, never "yes": whether a supported claim means yes to the question
depends on how both are worded, which only the author of the study knows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from bnkit.lab.report.trial_groups import seeds_text
from bnkit.lab.store.schema import Outcome, TrialRecord, Verdict


@dataclass(frozen=True)
class Answer:
    """The answer: its first word, the rest of the sentence, and which colour it takes."""

    lead: str
    rest: str
    tone: Outcome | Literal["none", "mixed"]


def answer(verdicts: Sequence[Verdict], trials: Sequence[TrialRecord]) -> Answer:
    """Return what the verdicts say together."""
    if not trials:
        return Answer("No trials", "nothing was trained, so there is nothing to judge.", "none")
    if not verdicts:
        return Answer(
            "No claims", "the study states none; curves and tables show what was measured.", "none"
        )
    seeds = seeds_text([verdict.seeds for verdict in verdicts])
    if all(trial.status == "diverged" for trial in trials):
        seeds += "; every trial diverged"
    if len(verdicts) == 1:
        return _single(verdicts[0], seeds)
    counts = Counter(verdict.outcome for verdict in verdicts)
    if len(counts) == 1:
        outcome = verdicts[0].outcome
        count = len(verdicts)
        return Answer(outcome.capitalize(), f"{count} of {count} claims, over {seeds}.", outcome)
    parts = [f"{counts[outcome]} {outcome}" for outcome in get_args(Outcome) if counts[outcome]]
    listed = f"{', '.join(parts[:-1])} and {parts[-1]}"
    return Answer("Mixed", f"of {len(verdicts)} claims {listed}, over {seeds}.", "mixed")


def _single(verdict: Verdict, seeds: str) -> Answer:
    text = verdict.text.rstrip(".")
    why = f" ({verdict.reason})" if verdict.outcome == "inconclusive" and verdict.reason else ""
    return Answer(verdict.outcome.capitalize(), f"“{text}”, over {seeds}{why}.", verdict.outcome)
