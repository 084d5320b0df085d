"""Whether a network's own code reads an attribute in another way than by calling it.

Where it does, as in `self.features[:3](x)` or `for layer in self.features`, a part of the container
may run without the rest. Read is the compiled code, which there always is, and not the source.
"""

from __future__ import annotations

import dis
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

from torch import nn

# Methods that run none of the layers.
# fmt: off
_HARMLESS = {
    "parameters", "named_parameters", "buffers", "named_buffers", "modules", "named_modules",
    "state_dict", "load_state_dict", "train", "eval", "to", "cuda", "cpu", "half", "float",
    "double", "requires_grad_", "zero_grad", "apply", "append", "add_module",
    "register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook",
}
# fmt: on


def reads_of(model: nn.Module) -> dict[str, str]:
    """Return attribute → class whose code reads it in another way than by calling it.

    Args:
        model: the network; the code is that of its modules' classes, without torch's own.
    """
    classes = {kind for module in model.modules() for kind in type(module).__mro__}
    found: dict[str, str] = {}
    for kind in sorted(classes, key=lambda kind: (kind.__module__, kind.__qualname__)):
        if not kind.__module__.startswith(("torch.", "builtins", "typing", "bnkit.")):
            for code in _codes(list(vars(kind).values())):
                for name in _read_attributes(code):
                    found.setdefault(name, kind.__name__)
    return found


def _codes(values: list[Any]) -> Iterator[CodeType]:
    """Yield the code of functions, and of what they define, wrap or close over."""
    waiting, seen = list(values), set[int]()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, CodeType):
            yield value
            waiting += value.co_consts
        elif isinstance(value, FunctionType):
            cells = [cell for cell in value.__closure__ or () if _is_filled(cell)]
            waiting += [value.__code__, *(cell.cell_contents for cell in cells)]
        elif isinstance(value, staticmethod | classmethod):
            waiting.append(value.__func__)
        elif isinstance(value, property):
            waiting.append(value.fget)


def _is_filled(cell: Any) -> bool:
    try:
        return isinstance(cell.cell_contents, FunctionType)
    except ValueError:
        return False


def _read_attributes(code: CodeType) -> Iterator[str]:
    instructions = list(dis.get_instructions(code))
    following: list[dis.Instruction | None] = [*instructions[1:], None]
    for instruction, after in zip(instructions, following, strict=True):
        if instruction.opname != "LOAD_ATTR" or _is_call(instruction):
            continue
        if after is not None and _is_call(after) and after.argval in _HARMLESS:
            continue
        yield instruction.argval


def _is_call(instruction: dis.Instruction) -> bool:
    """Return whether an attribute is read in order to call it at once."""
    # A method call is an instruction of its own in Python 3.11, a flag of the reading one later.
    if instruction.opname == "LOAD_ATTR":
        return "NULL|self" in instruction.argrepr
    return instruction.opname == "LOAD_METHOD"
