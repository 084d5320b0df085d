"""Arms can be told apart, in both themes and without colour."""

from __future__ import annotations

import pytest

from bnkit.page.palette import (
    ARM_COLOURS,
    BACKGROUNDS,
    DASHES,
    MARKERS,
    appearance,
)
from bnkit.page.shell import TEMPLATES

TEXT_CONTRAST = 4.5  # WCAG 2.2, 1.4.3
GRAPHIC_CONTRAST = 3.0  # WCAG 2.2, 1.4.11
# Okabe and Ito's colours that reach a contrast of 3 : 1 with the page, the least that WCAG 2.2
# asks of a graphic; later arms rely on dash and marker as well.
CLEAR_COLOURS = 5


def contrast(first: str, second: str) -> float:
    """Return the contrast of two colours, 1 to 21.

    (L₁ + 0.05) / (L₂ + 0.05), L the relative luminance, L₁ the lighter.

    Source: WCAG 2.2, "contrast ratio" and "relative luminance".
    """
    lighter, darker = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_contrast_of_known_pairs():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert contrast("#ffffff", "#ffffff") == 1


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_first_colours_stand_out_from_the_page(theme):
    found = [contrast(colour, BACKGROUNDS[theme]) for colour in ARM_COLOURS[theme][:CLEAR_COLOURS]]
    assert min(found) >= GRAPHIC_CONTRAST, found
    assert len(set(ARM_COLOURS[theme])) == 8
    assert set(ARM_COLOURS[theme]) - {"#000000", "#ffffff"} == set(ARM_COLOURS["light"]) - {
        "#000000"
    }


def test_no_two_of_168_arms_look_alike():
    assert len({appearance(index) for index in range(168)}) == 168


def test_neighbouring_arms_differ_without_colour():
    for index in range(len(DASHES) * len(MARKERS) - 1):
        here, there = appearance(index), appearance(index + 1)
        assert here.dash != there.dash
        assert here.marker != there.marker


def _colours(theme: str) -> dict[str, str]:
    """Return the page's own colours of a theme, as the style sheet states them."""
    css = (TEMPLATES / "base.css").read_text(encoding="utf-8")
    start = ":root {" if theme == "light" else ':root[data-theme="dark"] {'
    block = css.split(start, 1)[1].split("}", 1)[0]
    pairs = [item.split(":") for item in block.split(";") if item.strip().startswith("--")]
    return {name.strip(): value.strip() for name, value in pairs}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_is_readable(theme):
    colours = _colours(theme)
    for background in (BACKGROUNDS[theme], colours["--card"]):
        for name in ("--ink", "--quiet", "--link"):
            assert contrast(colours[name], background) >= TEXT_CONTRAST, name
    badge = colours["--badge-ink"].replace("#fff", "#ffffff")[:7]
    for outcome in ("--supported", "--refuted", "--inconclusive"):
        assert contrast(badge, colours[outcome]) >= TEXT_CONTRAST, outcome


def test_dark_colours_are_the_same_whichever_way_dark_was_chosen():
    css = (TEMPLATES / "base.css").read_text(encoding="utf-8")
    by_system = css.split(':root:not([data-theme="light"]) {', 1)[1].split("}", 1)[0]
    by_choice = css.split(':root[data-theme="dark"] {', 1)[1].split("}", 1)[0]
    assert by_choice.replace("color-scheme: dark;", "").split() == by_system.split()
