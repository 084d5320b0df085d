"""Batch normalization for PyTorch: made fast, checked before you trust it, shown to work."""

from typing import TYPE_CHECKING

from bnkit._lazy import attach

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bnkit import functional as functional
    from bnkit import lab as lab
    from bnkit.checker.checking import check as check
    from bnkit.checker.fixing import fix as fix
    from bnkit.checker.watching import watch as watch
    from bnkit.compilation.graph_report import compile_reports as compile_reports
    from bnkit.errors import BnkitError as BnkitError
    from bnkit.inspection.description import describe as describe
    from bnkit.kernels.dispatch import kernel_for as kernel_for
    from bnkit.kernels.dispatch import use_kernel as use_kernel
    from bnkit.kernels.numba_cpu.output_memory import empty_cache as empty_cache
    from bnkit.layers.batch_norm import BatchNorm1d as BatchNorm1d
    from bnkit.layers.batch_norm import BatchNorm2d as BatchNorm2d
    from bnkit.layers.batch_norm import BatchNorm3d as BatchNorm3d
    from bnkit.layers.batch_norm_act import BatchNormAct1d as BatchNormAct1d
    from bnkit.layers.batch_norm_act import BatchNormAct2d as BatchNormAct2d
    from bnkit.layers.batch_norm_act import BatchNormAct3d as BatchNormAct3d
    from bnkit.layers.noisy_batch_norm import NoisyBatchNorm1d as NoisyBatchNorm1d
    from bnkit.layers.noisy_batch_norm import NoisyBatchNorm2d as NoisyBatchNorm2d
    from bnkit.layers.noisy_batch_norm import NoisyBatchNorm3d as NoisyBatchNorm3d
    from bnkit.rewrite.acceleration.acceleration import accelerate as accelerate
    from bnkit.rewrite.conversion.conversion import convert as convert
    from bnkit.rewrite.conversion.insertion import insert as insert
    from bnkit.rewrite.conversion.removal import remove as remove
    from bnkit.rewrite.folding.folding import fold as fold
    from bnkit.rewrite.loading import load as load
    from bnkit.rewrite.pruning.pruning import prune as prune
    from bnkit.rewrite.statistics.adaptation import adapt as adapt
    from bnkit.rewrite.statistics.freezing import freeze as freeze
    from bnkit.rewrite.statistics.freezing import unfreeze as unfreeze
    from bnkit.rewrite.statistics.recalibration import recalibrate as recalibrate
    from bnkit.rewrite.statistics.statistics_guard import frozen_statistics as frozen_statistics

__getattr__, __dir__ = attach(
    __name__,
    {
        "BatchNorm1d": "bnkit.layers.batch_norm",
        "BatchNorm2d": "bnkit.layers.batch_norm",
        "BatchNorm3d": "bnkit.layers.batch_norm",
        "BatchNormAct1d": "bnkit.layers.batch_norm_act",
        "BatchNormAct2d": "bnkit.layers.batch_norm_act",
        "BatchNormAct3d": "bnkit.layers.batch_norm_act",
        "NoisyBatchNorm1d": "bnkit.layers.noisy_batch_norm",
        "NoisyBatchNorm2d": "bnkit.layers.noisy_batch_norm",
        "NoisyBatchNorm3d": "bnkit.layers.noisy_batch_norm",
        "BnkitError": "bnkit.errors",
        "accelerate": "bnkit.rewrite.acceleration.acceleration",
        "adapt": "bnkit.rewrite.statistics.adaptation",
        "check": "bnkit.checker.checking",
        "compile_reports": "bnkit.compilation.graph_report",
        "convert": "bnkit.rewrite.conversion.conversion",
        "describe": "bnkit.inspection.description",
        "empty_cache": "bnkit.kernels.numba_cpu.output_memory",
        "fix": "bnkit.checker.fixing",
        "fold": "bnkit.rewrite.folding.folding",
        "freeze": "bnkit.rewrite.statistics.freezing",
        "frozen_statistics": "bnkit.rewrite.statistics.statistics_guard",
        "functional": "bnkit.functional",
        "insert": "bnkit.rewrite.conversion.insertion",
        "kernel_for": "bnkit.kernels.dispatch",
        "lab": "bnkit.lab",
        "load": "bnkit.rewrite.loading",
        "recalibrate": "bnkit.rewrite.statistics.recalibration",
        "prune": "bnkit.rewrite.pruning.pruning",
        "remove": "bnkit.rewrite.conversion.removal",
        "unfreeze": "bnkit.rewrite.statistics.freezing",
        "use_kernel": "bnkit.kernels.dispatch",
        "watch": "bnkit.checker.watching",
    },
)
