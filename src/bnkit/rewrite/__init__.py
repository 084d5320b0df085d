"""Model in, changed model out, with an account of what changed and the way back."""

from typing import TYPE_CHECKING

from bnkit._lazy import attach

if TYPE_CHECKING:
    from bnkit.rewrite.acceleration import accelerate as accelerate
    from bnkit.rewrite.conversion import convert as convert
    from bnkit.rewrite.insertion import insert as insert
    from bnkit.rewrite.loading import load as load
    from bnkit.rewrite.removal import remove as remove
    from bnkit.rewrite.result import Change as Change
    from bnkit.rewrite.result import Rewrite as Rewrite
    from bnkit.rewrite.result import Skipped as Skipped

__getattr__, __dir__ = attach(
    __name__,
    {
        "Change": "bnkit.rewrite.result",
        "Rewrite": "bnkit.rewrite.result",
        "Skipped": "bnkit.rewrite.result",
        "accelerate": "bnkit.rewrite.acceleration",
        "convert": "bnkit.rewrite.conversion",
        "insert": "bnkit.rewrite.insertion",
        "load": "bnkit.rewrite.loading",
        "remove": "bnkit.rewrite.removal",
    },
)
