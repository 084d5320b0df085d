"""Model in, changed model out, with an account of what changed and the way back."""

from typing import TYPE_CHECKING

from bnkit._lazy import attach

if TYPE_CHECKING:
    from bnkit.rewrite.acceleration.acceleration import accelerate as accelerate
    from bnkit.rewrite.conversion.conversion import convert as convert
    from bnkit.rewrite.conversion.insertion import insert as insert
    from bnkit.rewrite.conversion.removal import remove as remove
    from bnkit.rewrite.folding.folding import fold as fold
    from bnkit.rewrite.loading import load as load
    from bnkit.rewrite.pruning.pruning import prune as prune
    from bnkit.rewrite.pruning.pruning_report import Pruning as Pruning
    from bnkit.rewrite.result import Change as Change
    from bnkit.rewrite.result import Rewrite as Rewrite
    from bnkit.rewrite.result import Skipped as Skipped
    from bnkit.rewrite.statistics.adaptation import adapt as adapt
    from bnkit.rewrite.statistics.freezing import freeze as freeze
    from bnkit.rewrite.statistics.freezing import unfreeze as unfreeze
    from bnkit.rewrite.statistics.layer_statistics import Recalibration as Recalibration
    from bnkit.rewrite.statistics.layer_statistics import StatisticsShift as StatisticsShift
    from bnkit.rewrite.statistics.recalibration import recalibrate as recalibrate
    from bnkit.rewrite.statistics.statistics_guard import frozen_statistics as frozen_statistics

__getattr__, __dir__ = attach(
    __name__,
    {
        "Change": "bnkit.rewrite.result",
        "Recalibration": "bnkit.rewrite.statistics.layer_statistics",
        "Pruning": "bnkit.rewrite.pruning.pruning_report",
        "Rewrite": "bnkit.rewrite.result",
        "Skipped": "bnkit.rewrite.result",
        "StatisticsShift": "bnkit.rewrite.statistics.layer_statistics",
        "accelerate": "bnkit.rewrite.acceleration.acceleration",
        "fold": "bnkit.rewrite.folding.folding",
        "adapt": "bnkit.rewrite.statistics.adaptation",
        "freeze": "bnkit.rewrite.statistics.freezing",
        "frozen_statistics": "bnkit.rewrite.statistics.statistics_guard",
        "convert": "bnkit.rewrite.conversion.conversion",
        "insert": "bnkit.rewrite.conversion.insertion",
        "load": "bnkit.rewrite.loading",
        "recalibrate": "bnkit.rewrite.statistics.recalibration",
        "prune": "bnkit.rewrite.pruning.pruning",
        "remove": "bnkit.rewrite.conversion.removal",
        "unfreeze": "bnkit.rewrite.statistics.freezing",
    },
)
