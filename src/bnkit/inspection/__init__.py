"""What a model is and does: read, traced, and left without a mark."""

from typing import TYPE_CHECKING

from bnkit._lazy import attach

if TYPE_CHECKING:
    from bnkit.inspection.description import DescribedLayer as DescribedLayer
    from bnkit.inspection.description import Description as Description
    from bnkit.inspection.description import describe as describe
    from bnkit.inspection.target import find_source as find_source
    from bnkit.inspection.target import is_target as is_target
    from bnkit.inspection.target import load_target as load_target
    from bnkit.inspection.target import resolve_target as resolve_target

__getattr__, __dir__ = attach(
    __name__,
    {
        "DescribedLayer": "bnkit.inspection.description",
        "Description": "bnkit.inspection.description",
        "describe": "bnkit.inspection.description",
        "find_source": "bnkit.inspection.target",
        "is_target": "bnkit.inspection.target",
        "load_target": "bnkit.inspection.target",
        "resolve_target": "bnkit.inspection.target",
    },
)
