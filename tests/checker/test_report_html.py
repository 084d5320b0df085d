"""A report as a page and in a notebook: complete, escaped, and fit for a phone."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

import bnkit
from bnkit.checker.report import NotRun, Report
from bnkit.page import write_page
from bnkit.rules.rule import Finding
from helpers.browser import open_page
from helpers.rule_case import conv_net, images, look_trained

HOSTILE = "</script><img src=x onerror=\"document.title='ran'\"><b>{{ 7 * 7 }}</b>"


class Text(HTMLParser):
    """What a reader sees, and which elements there are."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.tags = "", list[str]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def found() -> Report:
    model = look_trained(conv_net(bias=True))
    model[4].running_mean[0] = float("nan")
    silence = [
        {"code": "BN401", "layer": "0", "reason": "old checkpoints"},
        {"code": "BN101", "layer": "no.such", "reason": "none"},
    ]
    return bnkit.check(model, images(), silence=silence, target="net.py:build")


def hostile() -> Report:
    finding = Finding(HOSTILE, HOSTILE, HOSTILE, "E", HOSTILE, HOSTILE, HOSTILE)
    return Report(
        (finding, finding.silence(HOSTILE)),
        ran=(HOSTILE,),
        not_run=(NotRun(HOSTILE, HOSTILE, HOSTILE),),
        norms=1,
        unused_silences=((HOSTILE, HOSTILE),),
        target=HOSTILE,
    )


def many_infos() -> Report:
    infos = [
        Finding("BN701", "fold-opportunity", f"layers.{n}", "I", f"saves {n} k", "fold it")
        for n in range(12)
    ]
    return Report(tuple(infos), ran=("BN701",), not_run=(), norms=12, target="large")


def test_it_says_all_that_the_report_holds() -> None:
    report = found()
    assert {finding.severity for finding in report.findings} >= {"E", "I"}
    text = " ".join(Text(report.to_html()).text.split())
    for finding in report.findings:
        assert f"{finding.code} {finding.name}" in text
        if not finding.silenced:
            assert finding.message in text or finding.message[1:] in text
    for item in report.not_run:
        assert item.code in text
        assert item.reason in text
    assert "old checkpoints" in text
    assert "BN101, no.such" in text
    assert report.to_text().splitlines()[-1] in text


def test_a_rule_says_why_it_matters() -> None:
    assert "Why it matters, and when it is fine" in found().to_html()


@pytest.mark.parametrize("shown", [Report.to_html, Report._repr_html_], ids=["page", "notebook"])
def test_nothing_in_a_report_becomes_an_element(shown: Any) -> None:
    page = Text(shown(hostile()))
    assert "img" not in page.tags
    assert "b" not in page.tags
    assert page.text.count("{{ 7 * 7 }}") >= 5


def test_infos_of_many_layers_are_one_entry_with_each_layers_message() -> None:
    page = Text(many_infos().to_html())
    assert page.tags.count("article") == 1
    assert all(f"saves {n} k" in page.text.lower() for n in range(12))
    assert "(12 layers)" in Text(many_infos()._repr_html_()).text


def test_nothing_found_is_said() -> None:
    report = Report((), ran=("BN401",), not_run=(), norms=2, target="net")
    assert "nothing found" in report.to_html()
    assert "nothing found" in report._repr_html_()


def test_in_a_browser(browser: Any, tmp_path: Any) -> None:
    reports = {"found": found(), "hostile": hostile(), "many": many_infos()}
    for name, report in reports.items():
        path = write_page(report.to_html(), tmp_path / f"{name}.html")
        opened = open_page(browser, path, viewport={"width": 390, "height": 800})
        assert opened.width_px <= 390, name
        assert opened.complaints == []
        assert opened.page.title() != "ran"
        if name == "found":
            assert opened.page.locator(".badge").first.inner_text() == "error"
            assert opened.grave_findings() == []
        opened.page.close()
