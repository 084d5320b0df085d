"""A description as a page and in a notebook."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import bnkit
from bnkit.inspection.description import Description
from bnkit.page import write_page
from helpers.browser import open_page

HOSTILE = "<img src=x onerror=\"document.title='ran'\">"


def described(target: str = "net.py:build") -> Description:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.GroupNorm(2, 4))
    return bnkit.describe(model, torch.randn(2, 3, 9, 9), target=target)


@pytest.mark.parametrize("shown", [Description.to_html, Description._repr_html_])
def test_it_has_a_row_for_each_layer_and_the_totals(shown: Any) -> None:
    page = shown(described())
    for text in ("BatchNorm2d", "GroupNorm", "N×49", "2 layers", "18", "4C+2", "net.py:build"):
        assert text in page
    assert page.count("<tr>") == 1 + 2 + 1


@pytest.mark.parametrize("shown", [Description.to_html, Description._repr_html_])
def test_names_are_escaped_and_no_layers_are_said(shown: Any) -> None:
    assert HOSTILE not in shown(described(HOSTILE))
    page = shown(bnkit.describe(nn.Linear(2, 2), target="plain"))
    assert "no normalization layer" in page
    assert "<table" not in page


def test_in_a_browser(browser: Any, tmp_path: Any) -> None:
    path = write_page(described(HOSTILE).to_html(), tmp_path / "page.html")
    opened = open_page(browser, path, viewport={"width": 390, "height": 800}, color_scheme="dark")
    assert opened.width_px <= 390
    assert opened.complaints == []
    assert opened.grave_findings() == []
    assert opened.page.locator("tbody tr").count() == 2
    opened.page.close()
