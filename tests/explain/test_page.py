"""The page of `bnkit explain --html`, without a browser: what stands in it, and what it refuses."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from bnkit.errors import ArgumentError
from bnkit.explain import example_batch, render_html, work_through
from bnkit.explain.page import MOST_VALUES, SCRIPTS


def embedded(page: str) -> dict:
    (content,) = re.findall(r'id="batch-data">(.*?)</script>', page, re.S)
    return json.loads(content)


@pytest.mark.parametrize(
    ("shape", "full"),
    [((4, 3), [4, 3, 1, 1]), ((4, 3, 5), [4, 3, 1, 5]), ((2, 3, 4, 5), [2, 3, 4, 5])],
)
def test_the_batch_stands_in_it_whole(shape, full):
    x = np.random.default_rng(0).normal(size=shape)
    page = embedded(render_html(work_through(x, eps=0.01, momentum=0.3)))
    assert page["shape"] == full
    assert page["rank"] == len(shape)
    np.testing.assert_array_equal(np.reshape(page["values"], shape), x)
    assert (page["eps"], page["momentum"]) == (0.01, 0.3)


def test_running_statistics_are_those_before_the_batch():
    example = work_through([[1.0], [3.0]], running_mean=[7], running_var=[5])
    page = embedded(render_html(example))
    assert (page["running_mean"], page["running_var"]) == ([7], [5])


def test_names_cannot_break_out():
    name = "</script><script>document.title='ran'</script>"
    page = render_html(work_through([[1.0], [3.0]]), [name])
    assert name not in page
    assert embedded(page)["names"] == [name]


def test_a_batch_too_large_for_a_page_is_refused():
    x = np.random.default_rng(0).normal(size=(MOST_VALUES // 2 + 1, 2))
    with pytest.raises(ArgumentError, match=rf"at most {MOST_VALUES} values.*Give fewer examples"):
        render_html(work_through(x))


def test_python_and_the_page_have_one_limit():
    page = render_html(work_through([[1.0], [3.0]]))
    assert f"MOST_VALUES = {MOST_VALUES};" in page
    assert len(SCRIPTS) == len(re.findall(r"<script>", page)) - 1  # theme.js is shared


def test_the_example_shows_itself_in_a_notebook():
    batch = example_batch()
    shown = work_through(batch.x)._repr_html_()
    assert shown.startswith("<pre>Batch normalization")
    assert "&lt;" not in shown or "<script" not in shown
