"""Colours, dashes and markers of the arms: told apart without colour, readable in both themes.

The colours are Okabe and Ito's eight (2008), safe for colour-blind readers. A colour that is too
pale for a line on a white page comes late in the light order, and likewise in the dark order; each
arm keeps a similar hue in both where it can.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Theme = Literal["light", "dark"]

BLACK, ORANGE, SKY_BLUE, GREEN = "#000000", "#e69f00", "#56b4e9", "#009e73"
YELLOW, BLUE, VERMILLION, PURPLE = "#f0e442", "#0072b2", "#d55e00", "#cc79a7"
WHITE = "#ffffff"

ARM_COLOURS: dict[Theme, tuple[str, ...]] = {
    "light": (BLUE, VERMILLION, GREEN, PURPLE, BLACK, SKY_BLUE, ORANGE, YELLOW),
    "dark": (SKY_BLUE, ORANGE, GREEN, PURPLE, WHITE, BLUE, VERMILLION, YELLOW),
}
BACKGROUNDS: dict[Theme, str] = {"light": WHITE, "dark": "#14171a"}
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "star")


@dataclass(frozen=True)
class Appearance:
    """How one arm is drawn: place in `ARM_COLOURS`, Plotly's dash and marker names."""

    colour: int
    dash: str
    marker: str


def appearance(index: int) -> Appearance:
    """Return how arm number `index` is drawn; no two of the first 168 arms look alike."""
    return Appearance(
        colour=index % len(ARM_COLOURS["light"]),
        dash=DASHES[index % len(DASHES)],
        marker=MARKERS[index % len(MARKERS)],
    )
