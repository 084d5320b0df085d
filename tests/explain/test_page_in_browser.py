"""The page of `bnkit explain --html` as a person uses it: edits numbers, chooses, pastes."""

from __future__ import annotations

import json

import pytest
import torch

from bnkit.explain import example_batch, render_html, work_through
from bnkit.explain.batch import make_batch
from bnkit.page import write_page
from helpers.browser import open_page

NAMES = ("red", "green", "<b>blue</b>")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    batch = example_batch()
    example = work_through(batch.x, batch.weight, batch.bias)
    return write_page(render_html(example, NAMES), tmp_path_factory.mktemp("page") / "page.html")


@pytest.fixture(scope="module")
def opened(browser, path):
    found = open_page(browser, path, viewport={"width": 1100, "height": 800})
    yield found
    found.page.close()


@pytest.fixture
def page(opened):
    opened.page.get_by_role("button", name="Start again").click()
    opened.page.evaluate("document.querySelector('details').open = true")
    return opened.page


def numbers_in(page, place: str) -> list[float]:
    texts = page.locator(f"#{place} .number").all_inner_texts()
    return [float(text.replace("\N{MINUS SIGN}", "-")) for text in texts]


def output_of(page) -> list[float]:
    return numbers_in(page, "output-step")[-18:]


def y_of(x: torch.Tensor, channel: int) -> list[float]:
    batch = example_batch()
    layer = torch.nn.BatchNorm2d(3, dtype=torch.float64)
    layer.weight.data = torch.tensor(batch.weight)
    layer.bias.data = torch.tensor(batch.bias)
    return layer(x)[:, channel].detach().ravel().tolist()


def test_it_draws_offline_without_complaint_and_every_picture_is_there(opened, page):
    assert output_of(page) == pytest.approx(y_of(torch.tensor(example_batch().x), 0), abs=1e-3)
    assert page.locator("#histograms .bar").count() >= 6 * 4
    assert page.locator("#running-pictures .curve").count() == 2
    assert page.locator("#cubes svg").count() == 4
    assert page.locator("#sigmoid-picture .mark").count() > 0
    assert page.locator("#channel").inner_text().count("<b>blue</b>") == 1
    assert page.locator("b").count() == 0
    assert opened.complaints == []


def test_an_edited_number_changes_what_follows(page):
    x = torch.tensor(example_batch().x)
    x[1, 0, 2, 0] = -41.5
    page.get_by_label("x[1, 0, 2, 0]", exact=True).fill("-41.5")
    assert output_of(page) == pytest.approx(y_of(x, 0), abs=1e-3)
    page.get_by_label("bias of channel 0 (red)").fill("10")
    assert sum(output_of(page)) / 18 == pytest.approx(10, abs=1e-3)


def test_bad_input_says_so_beside_the_field_and_the_last_number_stays(page):
    field = page.get_by_label("x[0, 0, 0, 0]", exact=True)
    before = output_of(page)
    for text, message in {
        "": "empty",
        "abc": "not a number",
        "NaN": "NaN makes the mean",
        "1e999": "out of range",
        "1,5": "behind a point",
    }.items():
        field.fill(text)
        line = page.locator(f"#{field.get_attribute('aria-describedby')}")
        assert message in line.inner_text()
        assert field.get_attribute("aria-invalid") == "true"
        assert output_of(page) == before
    field.fill("210")
    assert line.inner_text() == ""
    assert field.get_attribute("aria-invalid") == "false"
    for label, text, message in [
        ("eps", "0", "finite"),
        ("momentum", "1.5", "between 0 and 1"),
        ("running_var of channel 1 (green)", "-1", "never below 0"),
        ("Steps", "2.5", "no whole number"),
        ("N, examples", "0", "between 1 and 16384"),
    ]:
        field = page.get_by_label(label, exact=True)
        good = field.input_value()
        field.fill(text)
        line = page.locator(f"#{field.get_attribute('aria-describedby')}")
        assert message in line.inner_text(), label
        field.fill(good)


def test_a_long_number_is_short_until_it_is_edited(page):
    field = page.get_by_label("x[0, 0, 0, 0]", exact=True)
    field.fill("123.456789012")
    page.get_by_label("eps", exact=True).focus()
    assert field.input_value() == "123.457"
    field.focus()
    assert field.input_value() == "123.456789012"


def test_one_value_per_channel_is_refused_as_torch_does(page):
    for label in ("N, examples", "H, rows", "W, columns"):
        page.get_by_label(label).fill("1")
        page.keyboard.press("Enter")
    assert "torch refuses it" in page.locator("#refused").inner_text()
    assert "torch.Size([1, 3, 1, 1])" in page.locator("#one-text").inner_text()
    assert len(numbers_in(page, "modes-blocks")) == 1  # eval mode takes it


def test_a_number_tells_how_it_came_about(page):
    page.locator("#mean-step .number[data-name=mean]").first.click()
    line = page.locator(".step", has=page.locator("#mean-step")).locator(".derivation")
    assert line.inner_text() == "mean of channel 0 (red) = 3600 / 18 = 200.0"
    page.keyboard.press("ArrowDown")
    assert "channel 1 (green)" in line.inner_text()


def test_running_statistics_converge_and_eval_comes_to_training(page):
    page.get_by_label("Steps", exact=True).fill("400")
    last = page.locator("#running-table tbody tr").last.locator("td").all_inner_texts()
    assert float(last[0]) == pytest.approx(200)
    assert float(last[1]) == pytest.approx(100 * 18 / 17, rel=1e-4)
    page.get_by_label("momentum None: a cumulative average").check()
    page.get_by_label("Steps", exact=True).fill("1")
    last = page.locator("#running-table tbody tr").last.locator("td").all_inner_texts()
    assert float(last[0]) == 200
    page.get_by_label("a new batch like it").check()
    page.get_by_label("Steps", exact=True).fill("1000")
    last = page.locator("#running-table tbody tr").last.locator("td").all_inner_texts()
    assert float(last[0]) == pytest.approx(200, abs=1)
    assert float(last[0]) != 200
    page.get_by_label("this batch again").check()


def test_pasted_text_becomes_the_batch_and_written_text_can_be_read(page):
    page.get_by_label("Batch as text").fill("1 10\n3, 20\n5; 60")
    page.get_by_role("button", name="Use this text").click()
    assert "shape (3, 2)" in page.locator("#shape-line").inner_text()
    expected = torch.nn.BatchNorm1d(2)(torch.tensor([[1.0, 10], [3, 20], [5, 60]]))
    assert numbers_in(page, "output-step")[-3:] == pytest.approx(expected[:, 0].tolist(), abs=1e-3)
    page.get_by_role("button", name="Write the batch above").click()
    written = json.loads(page.get_by_label("Batch as text").input_value())
    assert make_batch(**written).x.tolist() == [[1, 10], [3, 20], [5, 60]]
    for text, message in {
        "[[1, 2], [3]]": "the same length",
        '{"gamma": [1]}': "Perhaps “weight” is meant",
        "[[1, NaN]]": "finite",
        "1 2\n3 x": "Row 2, column 2",
        "": "empty",
    }.items():
        page.get_by_label("Batch as text").fill(text)
        page.get_by_role("button", name="Use this text").click()
        assert message in page.locator("#pasted-error").inner_text(), text
    assert "shape (3, 2)" in page.locator("#shape-line").inner_text()


def test_the_chosen_set_is_marked_in_the_cubes(page):
    def marked() -> list[int]:
        return [
            figure.locator(".front.marked").count()
            for figure in page.locator("#cubes figure").all()
        ]

    # fronts of cubes, hidden ones too: 2 examples, 3 channels, 9 positions
    assert marked() == [18, 27, 9, 27]
    page.get_by_label("Groups of group norm").select_option("3")
    assert marked() == [18, 27, 9, 9]
    page.locator("#axes-channel").select_option("2")
    assert page.locator("#channel").input_value() == "2"
    cells = page.locator("#axes-table tbody tr").first.locator("td").all_inner_texts()
    assert [float(cell) for cell in cells[1:5]] == pytest.approx([3, 18, 0.5, 0.01])


def test_a_sigmoid_is_saturated_without_and_not_with(page):
    rows = page.locator("#sigmoid-table tbody tr")
    assert rows.nth(0).locator("td").last.inner_text() == "18 of 18"
    assert rows.nth(1).locator("td").last.inner_text() == "0 of 18"
    page.get_by_label("weight of channel 0 (red)").fill("100")
    assert int(rows.nth(1).locator("td").last.inner_text().split()[0]) > 9


def test_on_a_phone_it_fits_and_whoever_cannot_see_it_can_use_it(browser, path):
    found = open_page(browser, path, viewport={"width": 390, "height": 800})
    assert found.width_px <= 390
    assert found.complaints == []
    assert found.grave_findings() == []
    found.page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_theme_is_that_of_the_system(browser, path, theme):
    found = open_page(browser, path, color_scheme=theme)
    ink = found.page.locator("#running-pictures text").first.evaluate(
        "node => getComputedStyle(node).fill"
    )
    assert ink == {"light": "rgb(27, 31, 35)", "dark": "rgb(232, 234, 237)"}[theme]
    found.page.close()


@pytest.mark.slow  # axe-core looks through more than a thousand elements
def test_the_dark_page_has_no_grave_finding(browser, path):
    found = open_page(browser, path, color_scheme="dark")
    assert found.grave_findings() == []
    found.page.close()


def test_without_scripts_the_page_says_so(browser, path):
    found = open_page(browser, path, java_script_enabled=False)
    assert found.page.locator(".without-script").is_visible()
    found.page.close()


def test_it_prints_its_numbers_and_pictures(page):
    page.emulate_media(media="print")
    assert page.locator("#output-step").is_visible()
    assert page.locator("#histograms").is_visible()
    page.emulate_media(media="screen")
