"""Set-up for every test: shape annotations of kernels and functional are executed."""

from __future__ import annotations

import gc
import os

from jaxtyping import install_import_hook

# Two workers share the cores: threads of one that wait must not take them from the other. OpenMP
# reads this when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Before anything imports these packages: from here on a tensor whose shape contradicts its
# annotation raises. Functions that Numba compiles are left out: it would compile the check.
install_import_hook(
    [
        "bnkit.functional",
        "bnkit.kernels.contract",
        "bnkit.kernels.dispatch",
        "bnkit.kernels.eager",
        "bnkit.kernels.numba_cpu.kernel",
        "bnkit.kernels.numba_cpu.passes",
        "bnkit.kernels.reference",
    ],
    "beartype.beartype",
)

# A fixture of the whole run: one browser per worker.
from helpers.browser import browser  # noqa: E402, F401


def pytest_collection_finish() -> None:
    """Leave out of every garbage collection what lives to the end: torch, and thousands of items.

    Each full collection, of which some tests ask for several, would look through all of it.
    """
    gc.collect()
    gc.freeze()
