"""A hash of a function or class handed over in Python, equal in every process."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import CodeType, FunctionType, MethodType
from typing import Any

from bnkit.errors import StudyError


def fingerprint(function: Callable[..., Any]) -> str:
    """Return a hash of a function or class: of its file, and of what it closes over.

    Two processes get the same hash for the same code; `make(8)` and `make(16)` get different ones.
    Hashed are the file it is defined in (for code without a file, as in a notebook, its compiled
    code), its default arguments, the values of its closure, a partial's arguments, and an
    instance's state. Files that it imports, and global variables of a notebook, are not followed.

    Raises:
        StudyError: it cannot be sent to other processes, and so cannot be trained by them.
    """
    import cloudpickle

    try:
        cloudpickle.dumps(function)
    except Exception as error:
        raise StudyError(
            f"{function!r} cannot be pickled ({type(error).__name__}: {error})",
            required="trials run in processes of their own",
            remedy="Define it in a module, or without references to open files, locks and the like",
        ) from error
    canonical = json.dumps(_described(function, ()), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _described(value: Any, above: tuple[int, ...]) -> Any:
    """Return a value as nested lists and strings that do not depend on the process."""
    if id(value) in above:
        return "recursive"
    inner = (*above, id(value))
    for kinds, describe in _DESCRIPTIONS:
        if isinstance(value, kinds):
            return describe(value, inner)
    return _described_object(value, inner)


def _described_mapping(value: Mapping[Any, Any], above: tuple[int, ...]) -> Any:
    return ["mapping", *sorted([repr(key), _described(v, above)] for key, v in value.items())]


def _described_set(value: frozenset[Any], above: tuple[int, ...]) -> Any:
    return ["set", *sorted(json.dumps(_described(item, above)) for item in value)]


def _described_sequence(value: Sequence[Any], above: tuple[int, ...]) -> Any:
    return ["sequence", *(_described(item, above) for item in value)]


def _described_partial(value: functools.partial[Any], above: tuple[int, ...]) -> Any:
    return ["partial", _described((value.func, value.args, value.keywords), above)]


def _described_method(value: MethodType, above: tuple[int, ...]) -> Any:
    return ["method", _described((value.__func__, value.__self__), above)]


def _described_code(value: CodeType, above: tuple[int, ...]) -> Any:
    return ["code", value.co_code.hex(), _described((value.co_consts, value.co_names), above)]


def _described_function(function: FunctionType, above: tuple[int, ...]) -> Any:
    cells = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    code = _file_hash(function) or _described(function.__code__, above)
    given = (function.__defaults__, function.__kwdefaults__, cells)
    return ["function", function.__qualname__, code, _described(given, above)]


def _described_class(kind: type, above: tuple[int, ...]) -> Any:
    code = _file_hash(kind)
    if code is not None and "<locals>" not in kind.__qualname__:
        return ["class", kind.__qualname__, code]
    # Without a file, or inside a function whose variables its methods may use: member by member.
    members = {
        name: getattr(member, "__func__", member)
        for name, member in vars(kind).items()
        if isinstance(getattr(member, "__func__", member), FunctionType | str | int | float | bool)
    }
    described = sorted((name, _described(member, above)) for name, member in members.items())
    return ["class", kind.__qualname__, code, described]


def _described_object(value: Any, above: tuple[int, ...]) -> Any:
    state = getattr(value, "__dict__", None)
    if state is not None and not inspect.ismodule(value):
        return ["object", _described(type(value), above), _described(state, above)]
    try:
        return ["pickled", hashlib.sha256(pickle.dumps(value)).hexdigest()]
    except Exception:
        return ["named", type(value).__qualname__, getattr(value, "__qualname__", "")]


_DESCRIPTIONS: tuple[tuple[Any, Callable[[Any, tuple[int, ...]], Any]], ...] = (
    ((type(None), str, int, float, bool, bytes, complex), lambda value, _: repr(value)),
    (Mapping, _described_mapping),
    ((set, frozenset), _described_set),
    ((tuple, list), _described_sequence),
    (functools.partial, _described_partial),
    (MethodType, _described_method),
    (FunctionType, _described_function),
    (type, _described_class),
    (CodeType, _described_code),
)


def _file_hash(code: Callable[..., Any]) -> str | None:
    try:
        source = inspect.getsourcefile(code)
    except (TypeError, OSError):
        return None
    if source is None or not Path(source).is_file():
        return None
    return hashlib.sha256(Path(source).read_bytes()).hexdigest()


def _is_filled(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True
