"""Studies to write pages of, and a reader of the pages."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import product
from statistics import fmean
from typing import Any

import polars as pl
import pytest

from bnkit.lab.store import StoredStudy, Summary, TrialRecord, Verdict
from bnkit.lab.store.trial_store import METRIC_SCHEMA

STEPS_PER_EPOCH = 45
VOID = {"meta", "br", "input", "link", "img", "hr"}

MakeStudy = Callable[..., StoredStudy]


def make_verdict(**changes: Any) -> Verdict:
    """Return a supported verdict on test accuracy, with changes."""
    values: dict[str, Any] = {
        "id": "accuracy",
        "text": "test accuracy after 30 epochs is higher with batch norm",
        "kind": "higher",
        "metric": "test accuracy",
        "arms": ("with", "without"),
        "outcome": "supported",
        "reason": "the 95 % interval [0.0492, 0.0858] lies above 0",
        "effect": 0.0675,
        "effect_name": "difference",
        "low": 0.0492,
        "high": 0.0858,
        "p": 0.00052,
        "p_adjusted": 0.00104,
        "seeds": 5,
        "means": {"with": 0.9843, "without": 0.9168},
        "diverged": {"with": 0, "without": 0},
        "published": {"with": 0.991, "without": 0.924},
        "at": "epoch 30",
        "unit": "share",
    }
    return Verdict(**{**values, **changes})


def make_study(
    arms: Sequence[str] = ("without", "with"),
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    epochs: int = 30,
    grids: Sequence[Mapping[str, Any]] = ({},),
    diverged: Mapping[tuple[str, int, int], int] | None = None,
    verdicts: Sequence[Verdict] | None = None,
    study: Mapping[str, Any] | None = None,
    notes: Sequence[str] = ("Training and test split as scikit-learn's digits, 1,437 and 360.",),
) -> StoredStudy:
    """Return a study with learning curves of the usual shape.

    Args:
        diverged: (arm, index of the grid point, seed) → step at which that trial diverged.
        verdicts: default one supported claim per study.
    """
    diverged = diverged or {}
    if verdicts is None:
        verdicts = [make_verdict()]
    trials, rows = [], []
    for (place, arm), (point, grid), seed in product(enumerate(arms), enumerate(grids), seeds):
        stop = diverged.get((arm, point, seed))
        trial = TrialRecord(
            id=f"{place}{point}{seed:02d}c0ffee",
            arm=arm,
            seed=seed,
            grid=dict(grid),
            spec={"norm": arm},
            classes=10,
            status="complete" if stop is None else "diverged",
            diverged_step=stop,
            versions={"bnkit": "0.1.0", "torch": "2.13.0"},
            machine={"cpu": "two cores", "device": "cpu"},
            seconds=1.5 + place,
        )
        trials.append(trial)
        rows += _rows(trial, place, point, epochs)
    return StoredStudy(
        settings={
            "study": dict(study or _study_table()),
            "data": {"name": "digits", "batch_size": 32},
            "network": {"name": "three-conv"},
            "training": {"epochs": epochs, "optimizer": {"name": "sgd", "lr": 0.01}},
            "grid": {"seed": list(seeds)},
            "arms": {arm: {"norm": "batch"} for arm in arms},
            "claims": [_claim(verdict) for verdict in verdicts],
        },
        trials=trials,
        metrics=pl.DataFrame(rows, schema={"trial": pl.String, **METRIC_SCHEMA}, orient="row"),
        verdicts=list(verdicts),
        summaries=_summaries(trials, rows),
        notes=list(notes),
        command="bnkit study run digits --out runs/digits",
    )


def _study_table() -> dict[str, str]:
    return {
        "name": "digits",
        "title": "Handwritten digits with and without batch normalization",
        "question": "Does batch normalization raise the accuracy on handwritten digits?",
        "source": "scikit-learn",
    }


def _claim(verdict: Verdict) -> dict[str, Any]:
    claim: dict[str, Any] = {"id": verdict.id, "text": verdict.text, "kind": verdict.kind}
    claim |= {"metric": verdict.metric, "better": verdict.arms[0], "than": verdict.arms[-1]}
    if verdict.kind in ("equivalent", "non-inferior"):
        claim["margin"] = 0.02
    if verdict.kind == "ratio-at-least":
        claim["factor"] = 2.0
    return claim


def _rows(trial: TrialRecord, place: int, point: int, epochs: int) -> list[tuple[Any, ...]]:
    generator = random.Random(f"{trial.arm}{point}{trial.seed}")
    speed = (0.08 + 0.12 * place) * (1 + 0.4 * point)
    rows: list[tuple[Any, ...]] = []
    for epoch in range(epochs + 1):
        step = epoch * STEPS_PER_EPOCH
        if trial.diverged_step is not None and step > trial.diverged_step:
            break
        noise = generator.gauss(0, 0.03) * (0.3 + math.exp(-epoch / 5))
        left = math.exp(-speed * epoch)
        loss = 0.08 + 2.22 * left * (1 + noise)
        accuracy = min(1.0, max(0.0, 0.98 - 0.88 * left + noise / 3))
        values = {
            "train loss": (loss, "nat"),
            "train accuracy": (accuracy, "share"),
            "test loss": (loss * 1.15, "nat"),
            "test accuracy": (accuracy * 0.99, "share"),
        }
        for metric, (value, unit) in values.items():
            shown = math.nan if step == trial.diverged_step and "loss" in metric else value
            rows.append((trial.id, step, epoch, metric, None, None, shown, unit))
    return rows


def _summaries(trials: Sequence[TrialRecord], rows: Sequence[tuple[Any, ...]]) -> list[Summary]:
    last = {(row[0], row[3]): row[6] for row in rows}
    groups: dict[tuple[str, str], list[TrialRecord]] = {}
    for trial in trials:
        groups.setdefault((trial.arm, str(trial.grid)), []).append(trial)
    found = []
    for members in groups.values():
        for metric in ("test accuracy", "test loss", "train accuracy", "train loss"):
            values = [last.get((trial.id, metric), 0.1) for trial in members]
            values = [0.1 if math.isnan(value) else value for value in values]
            mean, half = fmean(values), 1.2 * (max(values) - min(values))
            found.append(
                Summary(
                    arm=members[0].arm,
                    metric=metric,
                    mean=mean,
                    low=mean - half if len(values) > 1 else None,
                    high=mean + half if len(values) > 1 else None,
                    seeds=len(values),
                    diverged=sum(trial.status == "diverged" for trial in members),
                    grid=members[0].grid,
                )
            )
    return found


@dataclass
class Element:
    """An element of a page: tag, attributes, the elements in it, and its own text."""

    tag: str
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """Return the elements below this one with a tag (any: "*") and attributes."""
        found = []
        for child in self.children:
            fits = all(child.attributes.get(name) == value for name, value in attributes.items())
            if tag in ("*", child.tag) and fits:
                found.append(child)
            found += child.all(tag, **attributes)
        return found

    @property
    def text(self) -> str:
        """The text, white space made single."""
        return " ".join("".join(self.texts).split())


class _Tree(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Element("document", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.texts.append(data)


def parse_page(text: str) -> Element:
    """Return the page as a tree; an element that is not closed where it should be raises."""
    parser = _Tree()
    parser.feed(text)
    parser.close()
    assert [element.tag for element in parser.open] == ["document"], "an element is left open"
    return parser.open[0]


@pytest.fixture(name="make_study")
def _make_study() -> MakeStudy:
    return make_study


@pytest.fixture(name="make_verdict")
def _make_verdict() -> Callable[..., Verdict]:
    return make_verdict


@pytest.fixture(name="parse_page")
def _parse_page() -> Callable[[str], Element]:
    return parse_page
