"""Re-exports that import their home only when somebody asks for the name (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from bnkit._extras import require


def attach(
    package: str, homes: Mapping[str, str], *, extra: str = ""
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` for a package whose public names live elsewhere.

    Args:
        package: the package's `__name__`.
        homes: public name → module that defines it. A name equal to the last part of its home
            stands for the module itself.
        extra: the extra that the homes need beyond what everybody installs.

    Raises:
        MissingExtraError: when a name is asked for and the extra is not installed.
    """

    def get(name: str) -> Any:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if extra:
            require(extra)
        module = import_module(home)
        value = module if home == f"{package}.{name}" else getattr(module, name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted(homes)

    return get, names
