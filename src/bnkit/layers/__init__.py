"""Layers: drop-in for their torch namesakes, computed by bnkit's kernels."""

from typing import TYPE_CHECKING

from bnkit._lazy import attach

if TYPE_CHECKING:
    from bnkit.layers.batch_norm import BatchNorm1d as BatchNorm1d
    from bnkit.layers.batch_norm import BatchNorm2d as BatchNorm2d
    from bnkit.layers.batch_norm import BatchNorm3d as BatchNorm3d
    from bnkit.layers.batch_norm_act import BatchNormAct1d as BatchNormAct1d
    from bnkit.layers.batch_norm_act import BatchNormAct2d as BatchNormAct2d
    from bnkit.layers.batch_norm_act import BatchNormAct3d as BatchNormAct3d
    from bnkit.layers.noisy_batch_norm import NoisyBatchNorm1d as NoisyBatchNorm1d
    from bnkit.layers.noisy_batch_norm import NoisyBatchNorm2d as NoisyBatchNorm2d
    from bnkit.layers.noisy_batch_norm import NoisyBatchNorm3d as NoisyBatchNorm3d

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
    },
)
