"""The types of Numba that programs are written with, and the LLVM that they become.

A vector holds as many values as the widest registers; LLVM splits it where they are narrower.
Loops written with vectors do not depend on what an optimizer can prove about aliasing, remainders
and the order of sums.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.extending import register_model

from bnkit.kernels.numba_cpu.problem import Configuration

I1, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 16, 32, 64))
FLOAT, DOUBLE = ir.FloatType(), ir.DoubleType()
# By the dtype of arithmetic.
LANES = {"float32": 16, "float64": 8}
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}
IN_MEMORY = {"float32": FLOAT, "bfloat16": I16, "float16": ir.HalfType(), "float64": DOUBLE}
SUFFIX = {"float32": "f32", "bfloat16": "i16", "float16": "f16", "float64": "f64"}
VECTOR_BYTES = 64


class Block(types.Type):
    """A pointer to the block of numbers (`Slot`), which carries the configuration in its type."""

    def __init__(self, configuration: Configuration, digest: str) -> None:
        self.configuration, self.digest = configuration, digest
        # The digest of these sources is part of the name, and so of the key of the disk cache.
        super().__init__(f"Block({', '.join(map(str, configuration))}, {digest})")

    @property
    def lanes(self) -> int:
        """Return how many values a vector holds."""
        return LANES[self.configuration.arithmetic]

    @property
    def vector(self) -> Vector:
        """Return the type of vectors that arithmetic is done in."""
        is_double = self.configuration.arithmetic == "float64"
        return Vector(types.float64 if is_double else types.float32, self.lanes)


class Vector(types.Type):
    """A vector of float32 or float64."""

    def __init__(self, scalar: types.Type, lanes: int) -> None:
        self.scalar, self.lanes = scalar, lanes
        super().__init__(f"Vector({scalar}, {lanes})")


@register_model(Block)
class _BlockModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Block) -> None:
        super().__init__(manager, kind, I64.as_pointer())


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, llvm_vector(kind))


def llvm_vector(kind: Vector) -> ir.VectorType:
    """Return the LLVM type of a vector."""
    scalar = FLOAT if kind.scalar == types.float32 else DOUBLE
    return ir.VectorType(scalar, kind.lanes)


def constant(kind: ir.VectorType, value: Any) -> ir.Constant:
    """Return a vector of one value."""
    return ir.Constant(kind, [value] * kind.count)


def splat(builder: Any, scalar: Any, kind: ir.VectorType) -> Any:
    """Return a vector whose lanes are all `scalar`."""
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, scalar, I32(0))
    lanes = ir.Constant(ir.VectorType(I32, kind.count), [0] * kind.count)
    return builder.shuffle_vector(first, undefined, lanes)


def pointer_to(builder: Any, base: Any, index: Any, size: int, kind: Any) -> Any:
    """Return a pointer to what has that index among things of `size` bytes from `base` on."""
    address = builder.add(base, builder.mul(index, I64(size)))
    return builder.inttoptr(address, kind.as_pointer())


def first_lanes(builder: Any, lanes: int, count: Any) -> Any:
    """Return a mask of the first `count` lanes."""
    kind = ir.VectorType(I32, lanes)
    wanted = splat(builder, builder.trunc(count, I32), kind)
    return builder.icmp_signed("<", ir.Constant(kind, list(range(lanes))), wanted)


def widened(builder: Any, block: Block, raw: Any) -> Any:
    """Return values as loaded in the dtype of arithmetic."""
    dtype, kind = block.configuration.dtype, llvm_vector(block.vector)
    single = ir.VectorType(FLOAT, block.lanes)
    if dtype == "bfloat16":
        wide = ir.VectorType(I32, block.lanes)
        raw = builder.bitcast(builder.shl(builder.zext(raw, wide), constant(wide, 16)), single)
    elif dtype == "float16":
        raw = builder.fpext(raw, single)
    return raw if raw.type == kind else builder.fpext(raw, kind)


def narrowed(builder: Any, block: Block, values: Any) -> Any:
    """Return values as they are stored: rounded to the nearest, ties to even."""
    dtype = block.configuration.dtype
    if dtype != "float64" and values.type.element == DOUBLE:
        values = builder.fptrunc(values, ir.VectorType(FLOAT, block.lanes))
    if dtype == "bfloat16":
        return bfloat16_bits(builder, values, ir.VectorType(I32, block.lanes))
    if dtype == "float16":
        return builder.fptrunc(values, ir.VectorType(ir.HalfType(), block.lanes))
    return values


def bfloat16_bits(builder: Any, values: Any, wide: Any) -> Any:
    """Return the 16 bits of float32 values rounded to bfloat16; `wide` is 32-bit integers."""
    of = (lambda value: constant(wide, value)) if isinstance(wide, ir.VectorType) else wide
    bits = builder.bitcast(values, wide)
    odd = builder.and_(builder.lshr(bits, of(16)), of(1))
    rounded = builder.lshr(builder.add(bits, builder.add(odd, of(0x7FFF))), of(16))
    is_nan = builder.fcmp_unordered("uno", values, values)
    rounded = builder.select(is_nan, of(0x7FC0), rounded)
    narrow = ir.VectorType(I16, wide.count) if isinstance(wide, ir.VectorType) else I16
    return builder.trunc(rounded, narrow)


def in_memory(block: Block) -> ir.VectorType:
    """Return the LLVM type of a vector of x as it lies in memory."""
    return ir.VectorType(IN_MEMORY[block.configuration.dtype], block.lanes)


def size_of(block: Block) -> int:
    """Return the bytes of one value of x."""
    return BYTES[block.configuration.dtype]


def prefetch_line(
    builder: Any, block: Block, base: Any, index: Any, *, writes: bool, into: int = 3
) -> None:
    """Ask for the cache line of that index; it may lie beyond the tensor."""
    byte = ir.IntType(8)
    pointer = pointer_to(builder, base, index, size_of(block), byte)
    kind = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), I32, I32, I32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    data = 1
    constants = [I32(number) for number in (int(writes), into, data)]
    builder.call(function, [pointer, *constants])


def masked_function(builder: Any, block: Block, operation: str, extra: int) -> Any:
    """Return LLVM's masked load (extra=1: what absent lanes hold) or store."""
    kind, mask = in_memory(block), ir.VectorType(I1, block.lanes)
    address = [kind.as_pointer(), I32, mask]
    takes, gives = (([*address, kind], kind), ([kind, *address], ir.VoidType()))[1 - extra]
    name = f"llvm.masked.{operation}.v{block.lanes}{SUFFIX[block.configuration.dtype]}.p0"
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(gives, takes), name)
