from __future__ import annotations

from torch import nn

from bnkit.lab.study.arms import arm_notes
from bnkit.rewrite import Change, Rewrite, Skipped


def test_notes_tell_what_was_done_and_what_was_skipped() -> None:
    rewrite = Rewrite(
        nn.Identity(),
        changes=[Change("a", "removed"), Change("b", "removed")],
        skipped=[Skipped("c", "never ran"), Skipped("", "never ran"), Skipped("d", "no bias")],
    )
    assert arm_notes("without", rewrite) == [
        "Arm 'without': removed (a, b).",
        "Arm 'without': skipped: never ran (c, the network itself).",
        "Arm 'without': skipped: no bias (d).",
    ]
