"""Marks functions that must take any object, because they say themselves what is wrong with it."""

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    _Function = TypeVar("_Function")

    def no_type_check(function: _Function) -> _Function:
        """Keep the function's types for the type checker, which `typing`'s would drop."""

else:
    from typing import no_type_check

__all__ = ["no_type_check"]
