"""The page in a browser: it draws, it fits, and it asks for nothing."""

from __future__ import annotations

import pytest

from bnkit.lab.report import write_report
from helpers.browser import open_page as open_file

pytestmark = pytest.mark.slow

GRID = [{"training.optimizer.lr": rate} for rate in (0.01, 0.1)]
HOSTILE = (
    "</script><script>document.title='ran'</script><img src=x onerror=\"document.title='ran'\">"
)


def open_page(browser, path, **options):
    """Return a page with every figure drawn, and what it logged and asked for."""
    opened = open_file(browser, path, **options)
    opened.draw_all(".plot", ".main-svg")
    return opened.page, opened.complaints


@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_page_fits_and_draws(browser, make_study, tmp_path, width, theme):
    study = make_study(
        arms=("without", "with", "a-rather-long-name-of-an-arm-with-noise"),
        seeds=(0, 1),
        grids=GRID,
        diverged={("with", 1, 0): 60},
        epochs=4,
    )
    path = write_report(study, tmp_path / "report.html")
    options = {"viewport": {"width": width, "height": 800}, "color_scheme": theme}
    page, complaints = open_page(browser, path, **options)
    assert complaints == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".plot").count() == 8
    # in each figure: a line and a band per arm; in the second panel of each metric a mark as well
    assert page.locator(".plot .scatterlayer .trace").count() == 8 * 6 + 4
    ink = page.locator(".plot .ytick text").first.evaluate("node => getComputedStyle(node).fill")
    assert ink == {"light": "rgb(27, 31, 35)", "dark": "rgb(232, 234, 237)"}[theme]
    page.close()


def test_controls_change_the_figures(browser, make_study, tmp_path):
    path = write_report(make_study(epochs=4), tmp_path / "report.html")
    page, complaints = open_page(browser, path)
    first = page.locator(".plot").first
    loss = page.locator(".plot").nth(1)

    def title(figure, place):
        return figure.locator(place).text_content()

    assert title(first, ".xtitle") == "epoch"
    page.get_by_label("step", exact=True).check()
    assert title(first, ".xtitle") == "step"
    page.get_by_label("single trials").check()
    assert title(first, ".gtitle") == "single trials, 5 seeds"
    axis_type = "node => node.layout.yaxis.type"
    page.get_by_label("logarithmic").check()
    assert (first.evaluate(axis_type), loss.evaluate(axis_type)) == ("linear", "log")
    traces = first.locator(".scatterlayer .trace").count()
    button = page.get_by_role("button", name="without")
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "false"
    assert first.locator(".scatterlayer .trace").count() == traces // 2
    page.get_by_label("Theme").select_option("dark")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(20, 23, 26)"
    assert complaints == []
    page.close()


def test_hostile_names_do_not_run(browser, make_study, make_verdict, tmp_path):
    study = make_study(
        arms=(HOSTILE, "b"),
        epochs=2,
        verdicts=[make_verdict(text=HOSTILE)],
        study={"name": HOSTILE, "title": "safe", "question": HOSTILE},
        grids=[{"name": HOSTILE}],
    )
    page, complaints = open_page(browser, write_report(study, tmp_path / "report.html"))
    page.locator(".plot").first.hover()
    assert page.title() == "safe · bnkit"
    assert complaints == []
    page.close()


def test_the_policy_stops_a_script_that_got_in(browser, make_study, tmp_path):
    path = write_report(make_study(epochs=1), tmp_path / "report.html")
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("<footer>", HOSTILE + "<footer>"), encoding="utf-8")
    page, complaints = open_page(browser, path)
    assert page.title() != "ran"
    assert any("Content Security Policy" in complaint for complaint in complaints)
    page.close()


def test_nothing_is_lost_without_javascript(browser, make_study, tmp_path):
    path = write_report(make_study(epochs=2), tmp_path / "report.html")
    page = browser.new_page(java_script_enabled=False)
    page.goto(path.as_uri())
    assert page.get_by_text("The curves need JavaScript").is_visible()
    assert page.locator("table").first.is_visible()
    assert not page.locator(".controls").is_visible()
    page.close()
