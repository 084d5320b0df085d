"""The copy that a rewrite works on unless it is told to change the model itself."""

from __future__ import annotations

import copy

from torch import nn

from bnkit.errors import RewriteError


def copied(model: nn.Module) -> nn.Module:
    """Return a deep copy of a model.

    Raises:
        RewriteError: it cannot be copied.
    """
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise RewriteError(
            f"the network cannot be copied ({type(error).__name__}: {error})",
            required="a rewrite works on a copy unless told otherwise",
            remedy="Give inplace=True, or make the network work with copy.deepcopy (torch.nn.utils."
            "parametrizations do, the older torch.nn.utils.weight_norm does not)",
        ) from error
