"""Model in, changed model out, with an account of what changed and the way back."""

from typing import TYPE_CHECKING

from bnkit._lazy import attach

if TYPE_CHECKING:
    from bnkit.rewrite.acceleration import accelerate as accelerate
    from bnkit.rewrite.adaptation import adapt as adapt
    from bnkit.rewrite.conversion import convert as convert
    from bnkit.rewrite.folding import fold as fold
    from bnkit.rewrite.freezing import freeze as freeze
    from bnkit.rewrite.freezing import unfreeze as unfreeze
    from bnkit.rewrite.insertion import insert as insert
    from bnkit.rewrite.layer_statistics import Recalibration as Recalibration
    from bnkit.rewrite.layer_statistics import StatisticsShift as StatisticsShift
    from bnkit.rewrite.loading import load as load
    from bnkit.rewrite.pruning import prune as prune
    from bnkit.rewrite.pruning_report import Pruning as Pruning
    from bnkit.rewrite.recalibration import recalibrate as recalibrate
    from bnkit.rewrite.removal import remove as remove
    from bnkit.rewrite.result import Change as Change
    from bnkit.rewrite.result import Rewrite as Rewrite
    from bnkit.rewrite.result import Skipped as Skipped
    from bnkit.rewrite.statistics_guard import frozen_statistics as frozen_statistics

__getattr__, __dir__ = attach(
    __name__,
    {
        "Change": "bnkit.rewrite.result",
        "Recalibration": "bnkit.rewrite.layer_statistics",
        "Pruning": "bnkit.rewrite.pruning_report",
        "Rewrite": "bnkit.rewrite.result",
        "Skipped": "bnkit.rewrite.result",
        "StatisticsShift": "bnkit.rewrite.layer_statistics",
        "accelerate": "bnkit.rewrite.acceleration",
        "fold": "bnkit.rewrite.folding",
        "adapt": "bnkit.rewrite.adaptation",
        "freeze": "bnkit.rewrite.freezing",
        "frozen_statistics": "bnkit.rewrite.statistics_guard",
        "convert": "bnkit.rewrite.conversion",
        "insert": "bnkit.rewrite.insertion",
        "load": "bnkit.rewrite.loading",
        "recalibrate": "bnkit.rewrite.recalibration",
        "prune": "bnkit.rewrite.pruning",
        "remove": "bnkit.rewrite.removal",
        "unfreeze": "bnkit.rewrite.freezing",
    },
)
