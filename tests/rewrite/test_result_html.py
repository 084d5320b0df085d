"""A rewrite in a notebook: the account, escaped."""

from __future__ import annotations

from torch import nn

import bnkit
from bnkit.rewrite.pruning.pruning_report import Pruning
from bnkit.rewrite.result import Change, Rewrite, Skipped

HOSTILE = "<script>document.title='ran'</script>"


def test_it_shows_what_was_done_to_which_layer() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4))
    done = bnkit.freeze(model)
    shown = done._repr_html_()
    assert done.changes
    assert shown.count("<tr><td") == len(done.changes) + len(done.skipped)
    assert "<strong>freeze</strong> of Sequential" in shown
    assert all(change.path in shown and change.what in shown for change in done.changes)


def test_the_measured_difference_is_shown() -> None:
    done = Rewrite(nn.Identity(), difference=0.25, relative_difference=0.125, notes=["a note"])
    assert "0.25, 0.125 of the largest output" in done._repr_html_()
    assert "a note" in done._repr_html_()


def test_a_pruned_model_shows_what_it_shrank_to() -> None:
    done = Pruning(nn.Identity(), parameters_before=80, parameters_after=20)
    assert "parameters: 80 → 20 (75.0% fewer)" in str(done)
    assert "parameters: 80 → 20 (75.0% fewer)" in done._repr_html_()


def test_nothing_in_it_becomes_an_element() -> None:
    rewrite = Rewrite(
        nn.Identity(),
        [Change(HOSTILE, HOSTILE)],
        [Skipped("", HOSTILE)],
        notes=[HOSTILE],
        name=HOSTILE,
    )
    assert "<script" not in rewrite._repr_html_()
    assert rewrite._repr_html_().count("&lt;script&gt;") == 5
    assert "(model)" in rewrite._repr_html_()


def test_nothing_to_change_is_shown_too() -> None:
    assert "0 changes, 0 left alone" in " ".join(Rewrite(nn.Identity())._repr_html_().split())
    assert str(Rewrite(nn.Identity())) == "nothing to change"
