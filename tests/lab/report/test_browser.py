"""The report as a person opens it: it draws, fits, answers to its controls, asks for nothing.

One store with every kind of figure serves all tests, and one browser.
"""

from __future__ import annotations

import pytest

import bnkit.lab
from bnkit.lab.report import write_report
from helpers.browser import open_page
from helpers.made_studies import write_store

HOSTILE = (
    "</script><script>document.title='ran'</script><img src=x onerror=\"document.title='ran'\">"
)
LOSS = '.plot[data-figure="test-loss"]'
DRAWN = ".main-svg, .gl-container"


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """A store's results, with their report; only where there is a browser to open it in."""
    store = tmp_path_factory.mktemp("made")
    return bnkit.lab.judge_again(write_store(store, epochs=5))


@pytest.fixture(scope="module")
def opened(browser, result):
    """The report in a wide window, every figure drawn; tests put back what they choose."""
    page = open_page(browser, result.report_path, viewport={"width": 1200, "height": 900})
    page.draw_all(".plot-frame:visible .plot", DRAWN)
    yield page
    page.page.close()


def shown(page, selector):
    """Scroll to a figure, wait until it is drawn as the controls say, and return it."""
    place = page.locator(selector).first
    place.scroll_into_view_if_needed()
    is_drawn = "node => node.dataset.drawn === (document.documentElement.dataset.version ?? '0')"
    page.wait_for_function(is_drawn, arg=place.element_handle())
    return place


def wait_for_ink(page, colour):
    """Wait until the loss's ticks have a colour; drawing them anew replaces the elements."""
    has_ink = """([place, colour]) => {
        const tick = document.querySelector(place + " .ytick text");
        return tick !== null && getComputedStyle(tick).fill === colour;
    }"""
    page.wait_for_function(has_ink, arg=[LOSS, colour])


def wait_for(page, place, read, value, *, is_equal=True):
    """Wait until a figure has a value, or another one; three dimensions take their time."""
    met = "([node, read, value, isEqual]) => (eval(read)(node) === value) === isEqual"
    page.wait_for_function(met, arg=[place.element_handle(), read, value, is_equal])


def layout(place):
    return place.evaluate(
        "node => ({x: node.layout.xaxis?.title.text, y: node.layout.yaxis?.type})"
    )


def test_every_figure_is_drawn_and_nothing_is_asked_for(opened, result):
    page = opened.page
    assert opened.complaints == []
    plots = page.locator(".plot-frame:visible .plot")
    assert plots.count() >= 18
    # three dimensions are given up when they leave the window
    empty = """nodes => nodes.filter((node) => node.dataset.drawn && !node.data?.length)
        .map((node) => node.dataset.figure)"""
    assert plots.evaluate_all(empty) == []
    assert page.locator(".plot-frame:visible .scatterlayer .trace path").count() > 50
    (verdict,) = result.verdicts
    card = page.locator("article.card")
    assert verdict.outcome in card.inner_text()
    values = card.locator("data").evaluate_all("nodes => nodes.map((node) => Number(node.value))")
    assert values[:3] == [verdict.effect, verdict.low, verdict.high]


def test_nothing_serious_is_found_by_the_accessibility_audit(opened):
    assert opened.grave_findings() == []


def test_controls_change_the_figures(opened):
    page = opened.page
    loss = shown(page, LOSS)
    said = page.locator('.metric[data-figure="test-loss"] .panel-title').first
    assert layout(loss) == {"x": "epoch", "y": "linear"}
    page.get_by_label("step", exact=True).check()
    page.get_by_label("logarithmic").check()
    assert layout(loss) == {"x": "step", "y": "log"}
    assert layout(shown(page, '.plot[data-figure="test-accuracy"]'))["y"] == "linear"
    page.get_by_label("single trials").check()
    page.get_by_label("Smoothing").select_option("5")
    assert "single trials, 3 seeds; smoothed over 5 drawn points" in said.inner_text()
    traces = "node => node.data.length"
    before = loss.evaluate(traces)
    button = page.get_by_role("button", name="none")
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "false"
    assert loss.evaluate(traces) < before
    page.keyboard.press("Enter")
    assert loss.evaluate(traces) == before
    for name in ("epoch", "linear", "95 % interval"):
        page.get_by_label(name, exact=True).check()
    page.get_by_label("Smoothing").select_option("1")


def test_a_layer_is_chosen_and_a_surface_turned(opened):
    page = opened.page
    shown(page, '.plot[data-figure="gradient-norm"]')
    norm = page.locator('.metric[data-figure="gradient-norm"]')
    label = norm.locator("figure").first
    assert "layer features.0" in label.get_attribute("aria-label")
    norm.locator("select").select_option(label="head")
    assert "layer head" in label.get_attribute("aria-label")
    norm.locator("select").select_option(label="all, at the last step")
    assert layout(norm.locator(".plot").first)["x"] == "layer"
    weight = page.locator('.metric[data-figure="weight"]')
    flat = "node => node.data[0].type"
    plot = shown(page, '.plot[data-figure="weight"]')
    if weight.locator(".no-webgl").is_visible():
        assert plot.evaluate(flat) == "scatter"
        return
    wait_for(page, plot, flat, "scatter3d")
    eye = "node => node.layout.scene.camera.eye.x"
    before = plot.evaluate(eye)
    weight.get_by_role("button", name="Turn left").click()
    wait_for(page, plot, eye, before, is_equal=False)
    weight.get_by_label("flat").check()
    wait_for(page, plot, flat, "scatter")


def test_figures_against_the_grid_stay_when_single_trials_are_chosen(opened):
    page = opened.page
    grid = '.plot[data-figure="grid-lr-test-loss"]'
    drawn = "node => node.data.map((trace) => trace.mode)"
    before = shown(page, grid).evaluate(drawn)
    assert "lines+markers" in before
    page.get_by_label("single trials", exact=True).check()
    assert shown(page, grid).evaluate(drawn) == before
    page.get_by_label("95 % interval", exact=True).check()


def test_dark_and_print_recolour_the_figures(opened):
    page = opened.page
    shown(page, LOSS)
    wait_for_ink(page, "rgb(27, 31, 35)")
    page.get_by_label("Theme").select_option("dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"
    wait_for_ink(page, "rgb(232, 234, 237)")
    page.emulate_media(media="print")
    wait_for_ink(page, "rgb(0, 0, 0)")
    assert not page.locator(".controls").first.is_visible()
    assert not page.locator("nav").first.is_visible()
    chosen = page.locator('.metric[data-figure="distribution-shift"] .chosen')
    assert chosen.inner_text() == "Layer: features.0, Key: mean"
    page.emulate_media(media="screen")
    page.get_by_label("Theme").select_option("")
    wait_for_ink(page, "rgb(27, 31, 35)")
    assert opened.complaints == [], "none of all that was done to the page"


def test_a_phone_needs_no_sideways_scroll(browser, result):
    phone = open_page(browser, result.report_path, viewport={"width": 390, "height": 844})
    shown(phone.page, LOSS)
    assert phone.width_px <= 390
    assert phone.complaints == []
    phone.page.close()


def test_hostile_names_do_not_run(browser, make_study, make_verdict, tmp_path):
    study = make_study(
        arms=(HOSTILE, "b"),
        epochs=2,
        verdicts=[make_verdict(text=HOSTILE)],
        study={"name": HOSTILE, "title": "safe", "question": HOSTILE},
        grids=[{"name": HOSTILE}],
    )
    opened = open_page(browser, write_report(study, tmp_path / "report.html"))
    opened.draw_all(".plot-frame:visible .plot", DRAWN)
    opened.page.locator(".plot").first.hover()
    assert opened.page.title() == "safe · bnkit"
    assert opened.complaints == []
    opened.page.close()


def test_the_policy_stops_a_script_that_got_in(browser, make_study, tmp_path):
    path = write_report(make_study(epochs=1, arms=()), tmp_path / "report.html")
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("<footer>", HOSTILE + "<footer>"), encoding="utf-8")
    opened = open_page(browser, path)
    assert opened.page.title() != "ran"
    assert any("Content Security Policy" in complaint for complaint in opened.complaints)
    opened.page.close()


def test_nothing_is_lost_without_javascript(browser, result):
    page = browser.new_page(java_script_enabled=False)
    page.goto(result.report_path.as_uri())
    assert page.get_by_text("The curves need JavaScript").is_visible()
    assert page.locator("table").first.is_visible()
    assert not page.locator(".controls").first.is_visible()
    page.close()
