"""The page as HTML: complete, offline, in order, and with the store's numbers."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import pairwise

import pytest

from bnkit.lab.report.page import render_page
from bnkit.page.embed import script_hash

# Elements that make a browser fetch something, and the attribute that says what.
LOADING = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
LOADING |= {"video": "src", "audio": "src", "object": "data", "embed": "src", "form": "action"}
GRID = [{"training.optimizer.lr": rate} for rate in (0.001, 0.01, 0.1, 1.0)]


def check_heading_order(page):
    """Raise unless there is one h1 and no level is skipped on the way down."""
    levels = [
        int(element.tag[1]) for element in page.all("*") if re.fullmatch("h[1-6]", element.tag)
    ]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels)), levels


def check_offline(page):
    """Raise if anything on the page would be loaded from elsewhere."""
    for element in page.all("*"):
        loaded = element.attributes.get(LOADING.get(element.tag, ""), "")
        assert not loaded, f"<{element.tag}> loads {loaded}"
        for name in ("style", "srcset", "background"):
            assert "url(" not in element.attributes.get(name, "")
            assert "//" not in element.attributes.get(name, "")
    for style in page.all("style"):
        assert "url(" not in style.text
        assert "@import" not in style.text


def check_labels(page):
    """Raise if a figure, a table or a control says nothing to those who do not see it."""
    for tag, attributes in (("figure", {"class": "plot-frame"}), ("svg", {"role": "img"})):
        for element in page.all(tag, **attributes):
            assert element.attributes["aria-label"].strip()
    for table in page.all("table"):
        assert table.all("caption")[0].text
        assert all(header.attributes.get("scope") in ("row", "col") for header in table.all("th"))
    for region in page.all("*", role="region"):
        assert region.attributes["aria-label"]
        assert region.attributes["tabindex"] == "0"
    for button in page.all("button"):
        assert button.text
    labelled = sum(len(label.all("input") + label.all("select")) for label in page.all("label"))
    assert labelled == len(page.all("input") + page.all("select"))


def all_checks(page):
    check_heading_order(page)
    check_offline(page)
    check_labels(page)
    names = [element.attributes["id"] for element in page.all("*") if "id" in element.attributes]
    assert len(names) == len(set(names)), "an id occurs twice"
    for element in page.all("*"):
        for attribute in ("aria-labelledby", "for"):
            assert element.attributes.get(attribute, names[0]) in names
    for link in page.all("a"):
        assert link.attributes["href"].removeprefix("#") in names


def studies(make_study, make_verdict):
    unjudged = make_verdict(
        outcome="inconclusive", low=None, high=None, p=None, p_adjusted=None, published=None
    )
    nothing = make_study(arms=(), verdicts=[])
    return {
        "plain": make_study(),
        "no claims": make_study(verdicts=[]),
        "no trials": nothing,
        "no settings": replace(nothing, settings={}, notes=[], command=""),
        "one seed": make_study(seeds=(3,), verdicts=[unjudged]),
        "grid": make_study(arms=("without", "with", "group"), seeds=(0, 1), grids=GRID, epochs=5),
        "diverged": make_study(diverged={("with", 0, 1): 100, ("without", 0, 0): 3}),
        "all diverged": make_study(diverged={("with", 0, seed): 1 for seed in range(5)}),
        "nothing finite": make_study(seeds=(0,), diverged={("with", 0, 0): 0}, epochs=1),
        "lost claim": replace(make_study(), settings={"study": {"name": "x"}}),
    }


NAMES = ["plain", "no claims", "no trials", "no settings", "one seed", "grid", "diverged"]
NAMES += ["all diverged", "nothing finite", "lost claim"]


@pytest.mark.parametrize("name", NAMES)
def test_page_is_sound(name, make_study, make_verdict, parse_page):
    found = studies(make_study, make_verdict)
    assert set(found) == set(NAMES)
    page = parse_page(render_page(found[name]))
    all_checks(page)
    for tag in ("main", "header", "nav", "footer", "h1", "title"):
        assert len(page.all(tag)) == 1, tag
    assert page.all("html")[0].attributes["lang"] == "en"
    assert page.all("h1")[0].text


def test_claims_and_their_numbers_are_those_of_the_verdicts(make_study, make_verdict, parse_page):
    verdicts = [
        make_verdict(),
        make_verdict(
            id="loss",
            text="training loss is lower",
            kind="lower",
            metric="train loss",
            outcome="refuted",
            effect=0.123456789,
            low=0.1,
            high=0.15,
            bootstrap_low=0.11,
            bootstrap_high=0.14,
            p=1e-7,
            p_adjusted=2e-7,
            seeds=10,
            diverged={"with": 0, "without": 2},
            published=None,
        ),
    ]
    page = parse_page(render_page(make_study(verdicts=verdicts)))
    cards = page.all("article")
    assert len(cards) == 2
    for card, verdict in zip(cards, verdicts, strict=True):
        assert card.all("h3")[0].text == verdict.text
        assert verdict.outcome in card.all("p", **{"class": "badge"})[0].text
        assert verdict.reason in card.text
        shown = [float(item.attributes["value"]) for item in card.all("data")]
        bounds = [verdict.effect, verdict.low, verdict.high]
        published = verdict.published or {}
        means = [
            number
            for arm in verdict.arms
            for number in (verdict.means[arm], published.get(arm))
            if number is not None
        ]
        tail = [verdict.p, verdict.p_adjusted]
        if verdict.bootstrap_low is not None:
            tail += [verdict.bootstrap_low, verdict.bootstrap_high]
        assert shown == bounds + means + tail
    assert cards[1].all("table")[0].text.endswith("0 without 0.9168 2")


def test_tables_hold_every_summary_and_trial(make_study, parse_page):
    study = make_study(grids=GRID, epochs=3, diverged={("with", 1, 2): 50})
    page = parse_page(render_page(study))
    tables = {table.all("caption")[0].text.split()[0]: table for table in page.all("table")}
    arms = [float(item.attributes["value"]) for item in tables["End"].all("data")]
    expected = [
        number
        for summary in study.summaries
        for number in (summary.mean, summary.low, summary.high)
    ]
    assert arms == expected
    rows = tables["Each"].all("tr")[1:]
    assert len(rows) == len(study.trials)
    for row, trial in zip(rows, study.trials, strict=True):
        assert trial.id in row.text
        assert ("diverged at step 50" in row.text) == (trial.status == "diverged")
        lr = str(trial.grid["training.optimizer.lr"])
        assert f"lr = {lr}" in row.text


def test_one_panel_per_metric_and_grid_point(make_study, parse_page):
    study = make_study(arms=("without", "with", "group"), seeds=(0, 1), grids=GRID, epochs=2)
    page = parse_page(render_page(study))
    plots = json.loads(page.all("script", id="plots")[0].text)
    panels = {name: len(plot["views"][0]["panels"]) for name, plot in plots.items()}
    metrics = ("test-accuracy", "test-loss", "train-accuracy", "train-loss")
    assert panels == {**dict.fromkeys(metrics, 4), **{f"grid-lr-{name}": 1 for name in metrics}}
    places = [plot.attributes for plot in page.all("div", **{"class": "plot"})]
    assert [place["data-figure"] for place in places if place["data-panel"] == "0"] == list(plots)
    assert len(places) == sum(panels.values())
    assert len([each for each in page.all("button") if "data-arm" in each.attributes]) == 3


def test_settings_notes_and_command_are_on_the_page(make_study, parse_page):
    page = parse_page(render_page(make_study()))
    assert 'name = "three-conv"' in page.text
    assert "1,437 and 360" in page.text
    assert "bnkit study run digits --out runs/digits" in page.text
    rows = [row.text for row in page.all("tr")]
    assert "torch2.13.0" in rows
    assert "cputwo cores" in rows


def test_security_policy_names_exactly_the_scripts(make_study, parse_page):
    text = render_page(make_study())
    page = parse_page(text)
    (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    hashes = re.findall(r"'sha256-[^']+'", policy.attributes["content"])
    sources = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    assert len(sources) == 4
    assert hashes == [script_hash(source) for source in sources]
    assert "default-src 'none'" in policy.attributes["content"]
    assert "script-src 'unsafe-inline'" not in policy.attributes["content"]


def test_long_tables_of_trials_start_folded(make_study, parse_page):
    few = parse_page(render_page(make_study(epochs=1)))
    many = parse_page(render_page(make_study(seeds=range(30), epochs=1)))
    assert "open" in few.all("details")[-1].attributes
    assert "open" not in many.all("details")[-1].attributes


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (check_heading_order, "<h1>a</h1><h3>b</h3>"),
        (check_heading_order, "<h1>a</h1><h1>b</h1>"),
        (check_offline, '<script src="https://example.org/a.js"></script>'),
        (check_offline, '<link rel="stylesheet" href="a.css">'),
        (check_offline, "<style>@import 'a.css';</style>"),
        (check_labels, '<figure class="plot-frame" aria-label=""></figure>'),
        (check_labels, "<table><caption>a</caption><tr><th>b</th></tr></table>"),
        (check_labels, "<button></button>"),
        (check_labels, "<input>"),
        (all_checks, '<h1 id="a">a</h1><a href="#b">b</a>'),
        (all_checks, '<h1 id="a">a</h1><p id="a">b</p>'),
    ],
)
def test_the_checks_can_fail(check, text, parse_page):
    with pytest.raises(AssertionError):
        check(parse_page(text))


@pytest.mark.parametrize("text", ["<p><b>x</p>", "<main>"])
def test_the_reader_rejects_what_is_not_closed(text, parse_page):
    with pytest.raises(AssertionError):
        parse_page(text)
