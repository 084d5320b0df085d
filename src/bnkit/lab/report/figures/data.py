"""A figure as plain data: views, of which one is seen at a time, and the panels in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Values = list[float | None]
XKind = Literal["time", "number", "log", "category"]


@dataclass(frozen=True)
class Mark:
    """Where a trial diverged: place along x, last value, and what happened in words."""

    x: float | str
    y: float
    text: str


@dataclass(frozen=True)
class Line:
    """A mean over seeds along x, with its interval, range and single trials.

    Attributes:
        arm: place of the arm in the study.
        x: steps, numbers or categories, as the view's axis says.
        pace: steps per epoch; None if x is not time.
        low, high: interval of the mean; least, most: range of the values.
        trials: seed → values.
    """

    arm: int
    x: list[float | str]
    pace: float | None
    mean: Values
    low: Values
    high: Values
    least: Values
    most: Values
    seeds: list[int]
    trials: dict[int, Values] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)


@dataclass(frozen=True)
class Band:
    """Two edges along x; `name` says what lies between them."""

    name: str
    low: Values
    high: Values


@dataclass(frozen=True)
class Span:
    """Bands of one arm along x, the outermost first, and a line in their middle.

    Attributes:
        middle: None where there is no line; `middle_name` says what it is.
    """

    arm: int
    x: list[float]
    pace: float | None
    bands: list[Band]
    middle: Values | None
    middle_name: str


@dataclass(frozen=True)
class Path:
    """The way of two numbers and a height, of one trial."""

    arm: int
    steps: list[int]
    x: Values
    y: Values
    z: Values


@dataclass(frozen=True)
class Surface:
    """Heights over a grid: `z` has one row per y and one column per x."""

    arm: int
    x: list[float]
    y: list[float]
    z: list[Values]


@dataclass(frozen=True)
class Panel:
    """One drawing: title, what it shows in words, and the texts that name its bands."""

    kind: Literal["lines", "spans", "path", "surface"]
    title: str
    label: str
    lines: list[Line] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    path: Path | None = None
    surface: Surface | None = None
    bands: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Scale:
    """The part of an axis that is shown, linear and as powers of ten; whether the former cuts."""

    linear: tuple[float, float]
    powers: tuple[float, float] | None
    is_cut: bool = False


@dataclass(frozen=True)
class Axes:
    """Titles of the axes, and what x is; `z` for what has a third."""

    x: str
    y: str
    z: str = ""
    x_kind: XKind = "time"


@dataclass(frozen=True)
class View:
    """What is seen at a time: panels on a common scale.

    Attributes:
        choice: place in the options of each of the figure's selections.
    """

    choice: tuple[int, ...]
    panels: list[Panel]
    axes: Axes
    scale: Scale | None = None


@dataclass(frozen=True)
class Selection:
    """Something that a reader chooses: `name` is "layer", the options are what there is."""

    name: str
    options: list[str]


@dataclass(frozen=True)
class LastValues:
    """A table of the values at the end: headings, and rows of texts."""

    headings: list[str]
    rows: list[list[str]]
    left_out: int = 0


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        id: unique on a page, and a file's name.
        metric: what is measured, as it was recorded.
        title: the same, as a heading.
        about: how to read it, in a sentence; may be empty.
        can_be_log: whether a logarithmic scale is offered.
        selections: what a reader chooses; the first view is seen first.
        notes: what must be said: values left out, thinning, what is cut.
        modes: ways to draw it, the first one first: "3-D", "flat".
    """

    id: str
    metric: str
    title: str
    about: str
    can_be_log: bool
    selections: list[Selection]
    views: list[View]
    notes: list[str]
    table: LastValues | None = None
    modes: tuple[str, ...] = ()
