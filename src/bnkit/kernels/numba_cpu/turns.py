"""How the threads of a team share the tasks of a program, and wait for each other."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from bnkit.kernels.numba_cpu.llvm_types import I32, I64, pointer_to
from bnkit.kernels.numba_cpu.memory import constant_slot
from bnkit.kernels.numba_cpu.problem import CACHE_LINE, Slot


@intrinsic
def next_task(_: Any, block: Any, counter: Any) -> Any:
    """Return the number of the next task that a counter counts; no two callers get the same."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        counters = constant_slot(builder, arguments[0], I64(int(Slot.COUNTERS)))
        counter = pointer_to(builder, counters, arguments[1], CACHE_LINE, I64)
        return builder.atomic_rmw("add", counter, I64(1), "monotonic")

    return types.int64(block, types.int64), generate


@intrinsic
def thread_number(_: Any, block: Any) -> Any:
    """Return the number of this thread in its team: what OpenMP's function at that address says."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = constant_slot(builder, arguments[0], I64(int(Slot.THREAD_NUMBER)))
        function = builder.inttoptr(address, ir.FunctionType(I32, []).as_pointer())
        return builder.sext(builder.call(function, []), I64)

    return types.int64(block), generate


@intrinsic
def wait_for_all(_: Any, block: Any) -> Any:
    """Wait until all threads of the team are here: OpenMP's barrier, or nothing for one thread."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = constant_slot(builder, arguments[0], I64(int(Slot.BARRIER)))
        with builder.if_then(builder.icmp_unsigned("!=", address, I64(0))):
            kind = ir.FunctionType(ir.VoidType(), []).as_pointer()
            builder.call(builder.inttoptr(address, kind), [])
        return context.get_dummy_value()

    return types.void(block), generate
