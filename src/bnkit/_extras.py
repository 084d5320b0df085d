"""The optional dependencies: extra → the modules that it installs."""

from __future__ import annotations

import sys
from functools import cache
from importlib.util import find_spec

from bnkit.errors import MissingExtraError

EXTRAS = {
    "lab": {
        "cloudpickle": "cloudpickle",
        "joblib": "joblib",
        "matplotlib": "matplotlib",
        "pillow": "PIL",
        "plotly": "plotly",
        "polars": "polars",
        "pooch": "pooch",
        "pydantic": "pydantic",
        "scikit-learn": "sklearn",
        "scipy": "scipy",
        "tomli-w": "tomli_w",
    },
    "lightning": {"pytorch-lightning": "pytorch_lightning"},
}


@cache
def require(extra: str) -> None:
    """Raise `MissingExtraError` unless all that an extra installs is there; nothing is imported."""
    missing = [name for name, module in EXTRAS[extra].items() if not _is_there(module)]
    if missing:
        raise MissingExtraError(
            f"not installed: {', '.join(missing)}",
            required=f"this part of bnkit needs the extra `{extra}`",
            remedy=f"Run `pip install 'bnkit[{extra}]'`",
        )


def _is_there(module: str) -> bool:
    if module in sys.modules:
        return sys.modules[module] is not None
    return find_spec(module) is not None
