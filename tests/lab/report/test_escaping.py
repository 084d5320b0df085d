"""Nothing that a study says can run, or end the place it stands in."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bnkit.lab.report.page import render_page
from bnkit.page.embed import json_for_script

HOSTILE = [
    "</script><script>alert(1)</script>",
    "\"' onmouseover=alert(1) x='",
    "<img src=x onerror=alert(1)>",
    "<!--",
    "]]>&amp;&lt;",
    "{{ 7 * 7 }}{% raw %}",
    "line\u2028separator\u2029",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_every_text_of_a_study_is_shown_as_it_is(text, make_study, make_verdict, parse_page):
    words = " ".join(text.split())
    verdict = make_verdict(
        text=text, reason=text, arms=(text, "b"), means={text: 0.5}, at=text, unit=text, metric=text
    )
    study = make_study(
        arms=(text, "b"),
        seeds=(0,),
        epochs=1,
        grids=[{text: text}],
        verdicts=[verdict],
        study={"name": text, "title": text, "question": text, "source": text},
        notes=[text],
    )
    trials = [replace(trial, versions={text: text}, machine={text: text}) for trial in study.trials]
    study = replace(study, trials=trials, command=text)
    page = parse_page(render_page(study))
    # data of figures, arms and their looks; Plotly, theme, plots, report
    assert len(page.all("script")) == 7
    assert not page.all("img")
    assert not [name for item in page.all("*") for name in item.attributes if name[:2] == "on"]
    for tag in ("h1", "title", "h3"):
        assert words in page.all(tag)[0].text
    assert words in page.all("button")[0].text
    assert words in page.all("pre")[0].text
    names = json.loads("".join(page.all("script", id="arm-names")[0].texts))
    assert names == [text, "b"]


@pytest.mark.parametrize("text", [*HOSTILE, "\ud800"])
def test_json_in_a_script_reads_back_and_holds_no_markup(text):
    content = {"key": [text, 1.5, None, True], text: 2}
    written = json_for_script(content)
    assert json.loads(written) == content
    for character in "<>&\u2028\u2029":
        assert character not in written


def test_json_without_the_escapes_would_fail_the_test_above():
    assert "<" in json.dumps(HOSTILE[0])
    assert "\u2028" in json.dumps("\u2028", ensure_ascii=False)


def test_values_that_are_not_finite_become_null():
    content = [float("nan"), float("inf"), (-float("inf"), 1.0)]
    assert json.loads(json_for_script(content)) == [None, None, [None, 1.0]]


def test_half_of_a_surrogate_pair_does_not_stop_the_page(make_study):
    page = render_page(make_study(notes=["left out broken-\udcff.png"], epochs=1))
    assert "left out broken-?.png" in page
