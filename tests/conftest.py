"""Set-up for every test: shape annotations of kernels and functional are executed."""

from __future__ import annotations

from jaxtyping import install_import_hook

# Before anything imports these packages: from here on a tensor whose shape contradicts its
# annotation raises.
install_import_hook(["bnkit.kernels", "bnkit.functional"], "beartype.beartype")
