"""A hash of a function or class handed over in Python, equal in every process."""

from __future__ import annotations

import dis
import functools
import hashlib
import inspect
import json
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

from bnkit.errors import StudyError
from bnkit.inspection.private_package import is_installed
from bnkit.inspection.target_sources import content_hash, imported_sources


def fingerprint(function: Callable[..., Any]) -> str:
    """Return a hash of a function or class: of its code, and of all values that it carries.

    Two processes get the same hash for the same code and values; `make(8)` and `make(16)` get
    different ones. Code in a file is hashed as that file, with the files near it that it imports
    (see `imported_sources`). Code without a file, as in a notebook, is hashed as compiled code,
    with the global variables that it names. Values are default arguments, closures, arguments of a
    partial, attributes of classes without a file and of instances, and arrays and tensors by
    content. What can be neither described nor pickled gets a random hash: it is trained anew at
    every run, and never mistaken for an earlier one.

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
    canonical = json.dumps(_Description().of(function))
    return hashlib.sha256(canonical.encode()).hexdigest()


_PLAIN = (type(None), str, int, float, bool, bytes, complex, type(...), type(NotImplemented))
_NAMED = (MethodDescriptorType, WrapperDescriptorType, GetSetDescriptorType, MemberDescriptorType)
# What Python keeps in every class, and what differs between processes or versions of Python.
_CLASS_BOOKKEEPING = {
    "__dict__",
    "__weakref__",
    "__doc__",
    "__firstlineno__",
    "__static_attributes__",
    "__annotations_cache__",
    "_abc_impl",
}


class _Description:
    """Values as nested lists and strings that do not depend on the process.

    An object that occurs again, perhaps inside itself, is described by the number of its first
    occurrence.
    """

    def __init__(self, above: _Description | None = None) -> None:
        self._numbers: dict[int, int] = dict(above._numbers) if above else {}
        self._hashes: dict[tuple[str, str], str] = above._hashes if above else {}
        # A number stands for an object's address, so what has one must stay alive.
        self._alive: list[Any] = []

    def of(self, value: Any) -> Any:
        """Return the description of any value."""
        if type(value) in _PLAIN:
            return repr(value)
        if type(value) in (tuple, frozenset, CodeType, MethodType):
            # These are built anew or shared as Python likes, so that their identity means nothing.
            return _DESCRIBE[type(value)](self, value)
        if id(value) in self._numbers:
            return ["again", self._numbers[id(value)]]
        self._numbers[id(value)] = len(self._numbers)
        self._alive.append(value)
        describe = _DESCRIBE.get(type(value)) or next(
            (found for kind, found in _DESCRIBE_INSTANCES if isinstance(value, kind)),
            _Description._object,
        )
        return describe(self, value)

    def _all(self, values: Any) -> list[Any]:
        return [self.of(value) for value in values]

    def _sequence(self, value: Sequence[Any]) -> Any:
        return [type(value).__name__, *self._all(value)]

    def _mapping(self, value: Mapping[Any, Any]) -> Any:
        return ["mapping", *([self.of(key), self.of(item)] for key, item in value.items())]

    def _set(self, value: frozenset[Any]) -> Any:
        # The order of a set differs between processes, so no item may see another's number.
        items = (_Description(self).of(item) for item in value)
        return [type(value).__name__, *sorted(json.dumps(item) for item in items)]

    def _partial(self, value: functools.partial[Any]) -> Any:
        return ["partial", *self._all((value.func, value.args, value.keywords))]

    def _method(self, value: MethodType) -> Any:
        return ["method", *self._all((value.__func__, value.__self__))]

    def _wrapped(self, value: Any) -> Any:
        return [type(value).__name__, self.of(value.__func__)]

    def _property(self, value: property) -> Any:
        return ["property", *self._all((value.fget, value.fset, value.fdel))]

    def _builtin(self, value: Any) -> Any:
        owner = value.__self__
        bound = owner is not None and not isinstance(owner, ModuleType | type)
        return ["builtin", value.__module__, value.__qualname__, self.of(owner) if bound else ""]

    def _descriptor(self, value: Any) -> Any:
        return ["descriptor", value.__objclass__.__qualname__, value.__name__]

    def _module(self, value: ModuleType) -> Any:
        file = getattr(value, "__file__", None)
        own = file is not None and not is_installed(Path(file).resolve())
        return ["module", value.__name__, self._files(file, value.__name__) if own else ""]

    def _code(self, value: CodeType) -> Any:
        names = (value.co_names, value.co_varnames, value.co_freevars, value.co_cellvars)
        counts = (value.co_argcount, value.co_posonlyargcount, value.co_kwonlyargcount)
        parts = (value.co_code, value.co_consts, value.co_exceptiontable, value.co_flags)
        return ["code", *self._all((*parts, names, counts))]

    def _function(self, value: FunctionType) -> Any:
        code = self._files(_source_of(value), value.__module__)
        cells = [cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell)]
        given = (value.__defaults__, value.__kwdefaults__, *cells)
        described = ["function", value.__qualname__, *self._all(given), self._mapping(vars(value))]
        if code:
            return [*described, code]
        named = {name: value.__globals__[name] for name in _global_names(value)}
        return [*described, self.of(value.__code__), self._mapping(named)]

    def _class(self, kind: type) -> Any:
        code = self._files(_source_of(kind), kind.__module__)
        module = sys.modules.get(kind.__module__)
        spec = getattr(module, "__spec__", None)
        imported = isinstance(spec, ModuleSpec) and kind.__module__ != "__main__"
        if _is_named_by(kind, module) and (code or imported):
            return ["class", kind.__module__ if not code else "", kind.__qualname__, code]
        # Without a file, or inside a function whose variables it may use: member by member.
        members = {n: m for n, m in sorted(vars(kind).items()) if n not in _CLASS_BOOKKEEPING}
        members.pop("__module__", None)
        above = self._all((type(kind), *kind.__bases__))
        return ["class", kind.__qualname__, code, above, self._mapping(members)]

    def _object(self, value: Any) -> Any:
        """Describe what an object would be pickled as, piece by piece; an array by content."""
        if (content := _array_content(value)) is not None:
            attributes = self._mapping(getattr(value, "__dict__", {}))
            return ["array", *self._all((type(value), *content)), attributes]
        try:
            reduced = value.__reduce_ex__(4)
        except Exception:
            return ["pickled", self.of(type(value)), _pickled(value)]
        if isinstance(reduced, str):
            # Such as a function in a cache, which knows what it wraps.
            attributes = self._mapping(getattr(value, "__dict__", {}))
            return ["global", self.of(type(value)), reduced, attributes]
        pieces = [list(part) if isinstance(part, Iterator) else part for part in reduced]
        return ["object", *self._all(pieces)]

    def _files(self, source: str | None, module: str | None) -> str:
        """Return the hash of a file and those near it that it imports; "" if there is no file."""
        if source is None or not Path(source).is_file():
            return ""
        key = (source, module or "")
        if key not in self._hashes:
            self._hashes[key] = content_hash(imported_sources(Path(source).resolve(), key[1]))
        return self._hashes[key]


_DESCRIBE: dict[Any, Callable[[_Description, Any], Any]] = {
    tuple: _Description._sequence,
    list: _Description._sequence,
    dict: _Description._mapping,
    MappingProxyType: _Description._mapping,
    set: _Description._set,
    frozenset: _Description._set,
    functools.partial: _Description._partial,
    MethodType: _Description._method,
    CodeType: _Description._code,
    FunctionType: _Description._function,
    staticmethod: _Description._wrapped,
    classmethod: _Description._wrapped,
    property: _Description._property,
}
_DESCRIBE_INSTANCES: tuple[tuple[Any, Callable[[_Description, Any], Any]], ...] = (
    (BuiltinFunctionType, _Description._builtin),
    (_NAMED, _Description._descriptor),
    (ModuleType, _Description._module),
    (type, _Description._class),
    (set | frozenset, _Description._set),
)


def _array_content(value: Any) -> tuple[Any, ...] | None:
    """Return what determines a numpy array or a tensor; None for anything else.

    Neither package is imported: a value of theirs can only exist where they are.
    """
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None and isinstance(value, numpy.ndarray):
        items = value.tolist() if value.dtype.hasobject else _hash(value.tobytes())
        return str(value.dtype), value.shape, items
    if torch is None or not isinstance(value, torch.Tensor) or value.is_quantized:
        return None
    if torch.nn.parameter.is_lazy(value):
        return (str(value.dtype),)
    facts = (str(value.dtype), str(value.layout), tuple(value.shape), value.requires_grad)
    if value.device.type == "meta":
        return facts
    plain = value.detach().to_dense().cpu().resolve_conj().resolve_neg().contiguous()
    return *facts, _hash(plain.reshape(-1).view(torch.uint8).numpy().tobytes())


def _pickled(value: Any) -> str:
    import cloudpickle

    try:
        return _hash(cloudpickle.dumps(value))
    except Exception:
        return uuid.uuid4().hex


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _global_names(function: FunctionType) -> list[str]:
    """Return the global variables that a function, or one defined inside it, names."""
    names: set[str] = set()
    codes = [function.__code__]
    for code in codes:
        codes.extend(inner for inner in code.co_consts if isinstance(inner, CodeType))
        names.update(
            step.argval
            for step in dis.get_instructions(code)
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME") and step.argval in function.__globals__
        )
    return sorted(names)


def _is_named_by(kind: type, module: ModuleType | None) -> bool:
    value: Any = module
    for part in kind.__qualname__.split("."):
        value = getattr(value, part, None)
    return value is kind


def _source_of(code: Callable[..., Any]) -> str | None:
    try:
        return inspect.getsourcefile(code)
    except (TypeError, OSError):
        return None


def _is_filled(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True
