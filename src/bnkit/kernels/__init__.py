"""Kernels: batch norm's arithmetic on raw tensors; no autograd, no `nn.Module`."""

from typing import TYPE_CHECKING

from bnkit._lazy import attach

if TYPE_CHECKING:
    from bnkit.kernels.contract import ForwardResult as ForwardResult
    from bnkit.kernels.contract import Gradients as Gradients
    from bnkit.kernels.contract import Kernel as Kernel
    from bnkit.kernels.contract import Reductions as Reductions
    from bnkit.kernels.contract import Statistics as Statistics
    from bnkit.kernels.contract import merge_statistics as merge_statistics
    from bnkit.kernels.dispatch import KernelChoice as KernelChoice
    from bnkit.kernels.dispatch import kernel_for as kernel_for
    from bnkit.kernels.dispatch import kernel_named as kernel_named
    from bnkit.kernels.dispatch import kernel_names as kernel_names
    from bnkit.kernels.dispatch import use_kernel as use_kernel

__getattr__, __dir__ = attach(
    __name__,
    {
        "ForwardResult": "bnkit.kernels.contract",
        "Gradients": "bnkit.kernels.contract",
        "Kernel": "bnkit.kernels.contract",
        "KernelChoice": "bnkit.kernels.dispatch",
        "Reductions": "bnkit.kernels.contract",
        "Statistics": "bnkit.kernels.contract",
        "kernel_for": "bnkit.kernels.dispatch",
        "kernel_named": "bnkit.kernels.dispatch",
        "kernel_names": "bnkit.kernels.dispatch",
        "merge_statistics": "bnkit.kernels.contract",
        "use_kernel": "bnkit.kernels.dispatch",
    },
)
