"""What a warp does with matrices (PTX ISA 9.7.15): loading and storing them, and multiplying them.

A warp holds a matrix as fragments: each lane has some of its elements in registers. Lane l belongs to group l // 4, as
thread l % 4 of it. A register has 32 bits (64 for f64), so it holds some elements, `e`, that are neighbours:

- of A, element j of register r is in row group + 8 * (r % 2) and column 4e * (r // 2) + e * thread + j
- of B, it is in row 4e * r + e * thread + j and column group
- of the accumulators C and D, element i of a lane is in row group + 8 * (i // 2) and column 2 * thread + i % 2

where a matrix A of 8 rows has just one register. That is what all the figures of the manual have in common.

The manual leaves open in which order and how precisely a sum is formed. Here products of floats are exact, their sum is
formed in f64, and the result is rounded once; f64 itself is a chain of fused multiply-adds. Integers are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from softgpu import floats as fl
from softgpu.errors import IncompleteWarp
from softgpu.instructions.decoder import Decoder, Write
from softgpu.instructions.memory import space_of
from softgpu.instructions.table import TYPES, Modifiers, instruction
from softgpu.machine import WARP_SIZE, Chunk, Lanes, lane_count, lane_indices
from softgpu.program import Execute, Read
from softgpu.ptx import Operand, Register

_LANES = np.arange(WARP_SIZE)
_GROUP, _THREAD = _LANES // 4, _LANES % 4
_FULL_MASK = np.array([0xFFFFFFFF], np.uint32)


def _for_warp(decoder: Decoder) -> None:
    """The instruction waits until all lanes of the warp have arrived at it."""
    if decoder.instruction.guard is not None:
        raise decoder.unsupported("a warp-level instruction under a predicate")
    decoder.operation.membermask = lambda chunk, lanes: _FULL_MASK


def _warps(decoder: Decoder) -> Callable[[Chunk, Lanes], int]:
    """A function that gives the number of warps that execute the instruction. It raises IncompleteWarp unless they are
    complete."""
    instruction = decoder.instruction

    def warps(chunk: Chunk, lanes: Lanes) -> int:
        there = np.bincount(chunk.warp[lanes], minlength=chunk.warp_count)
        incomplete = np.flatnonzero((there > 0) & (there < WARP_SIZE))
        if len(incomplete):
            lane = int(lane_indices(lanes)[chunk.warp[lanes] == incomplete[0]][0])
            raise IncompleteWarp(
                threads=int(there[incomplete[0]]),
                thread=chunk.thread_of(lane),
                block=chunk.block_of(lane),
                line=instruction.line,
            )
        return lane_count(lanes) // WARP_SIZE

    return warps


def _gather(chunk: Chunk, lanes: Lanes, reads: Sequence[Read]) -> NDArray:
    """The values of some operands, in an array of the shape (warps, 32, operands)."""
    columns = [np.broadcast_to(read(chunk, lanes), lane_count(lanes)) for read in reads]
    return np.ascontiguousarray(np.stack(columns, axis=-1).reshape(-1, WARP_SIZE, len(reads)))


def _scatter(chunk: Chunk, lanes: Lanes, writes: Sequence[Write], values: NDArray) -> None:
    """The reverse of `_gather`."""
    for number, write in enumerate(writes):
        write(chunk, lanes, np.ascontiguousarray(values[:, :, number]).reshape(-1))


# Multiplication


@dataclass(frozen=True, slots=True)
class _Element:
    """The type of the elements of A or B: how many bits it has, and its values as f64, from an array of registers with
    the shape (…, registers) to one of the shape (…, registers, elements of a register)."""

    bits: int
    values: Callable[[NDArray], NDArray]
    register: str = "b32"

    @property
    def per_register(self) -> int:
        return TYPES[self.register].bits // self.bits


def _viewed(dtype: str) -> Callable[[NDArray], NDArray]:
    def values(registers: NDArray) -> NDArray:
        return registers[..., None].view(dtype).astype(np.float64)

    return values


def _bfloats(registers: NDArray) -> NDArray:
    return fl.FORMATS["bf16"].unpack(registers[..., None].view(np.uint16)).astype(np.float64)


def _tensor_floats(registers: NDArray) -> NDArray:
    """tf32 is f32 whose 13 low bits count for nothing."""
    return (registers[..., None] & np.uint32(0xFFFFE000)).view(np.float32).astype(np.float64)


def _nibbles(signed: bool) -> Callable[[NDArray], NDArray]:
    def values(registers: NDArray) -> NDArray:
        nibble = registers[..., None] >> np.arange(0, 32, 4, dtype=np.uint32) & np.uint32(15)
        return (nibble.astype(np.int64) ^ 8).astype(np.float64) - 8 if signed else nibble.astype(np.float64)

    return values


def _single_bits(registers: NDArray) -> NDArray:
    return np.unpackbits(registers[..., None].view(np.uint8), axis=-1, bitorder="little").astype(np.float64)


_ELEMENTS = {
    "f16": _Element(16, _viewed("f2"), "f16x2"),
    "bf16": _Element(16, _bfloats, "bf16x2"),
    "tf32": _Element(32, _tensor_floats),
    "f64": _Element(64, _viewed("f8"), "f64"),
    "s8": _Element(8, _viewed("i1")),
    "u8": _Element(8, _viewed("u1")),
    "s4": _Element(4, _nibbles(True)),
    "u4": _Element(4, _nibbles(False)),
    "b1": _Element(1, _single_bits),
}

Multiply = Callable[[NDArray, NDArray, NDArray], NDArray]
"""D from A, B and C, all f64, for each warp."""


def _sum_of_products(a: NDArray, b: NDArray, c: NDArray) -> NDArray:
    # Integers stay below 2**53: they are exact as well.
    return c + a @ b


def _chain(a: NDArray, b: NDArray, c: NDArray) -> NDArray:
    for k in range(a.shape[2]):
        left, right = (np.ascontiguousarray(np.broadcast_to(x, c.shape)) for x in (a[:, :, k, None], b[:, None, k, :]))
        c = fl.fma64(left.reshape(-1), right.reshape(-1), c.reshape(-1)).reshape(c.shape)
    return c


def _count_common(a: NDArray, b: NDArray, c: NDArray) -> NDArray:
    """The number of bits set in both."""
    return c + a @ b


def _count_different(a: NDArray, b: NDArray, c: NDArray) -> NDArray:
    """The number of bits set in just one of them."""
    return c + a.sum(axis=2, keepdims=True) + b.sum(axis=1, keepdims=True) - 2 * (a @ b)


def _f32(x: NDArray) -> NDArray:
    return fl.FORMATS["f32"].canonical(x.astype(np.float32))


def _f16(x: NDArray) -> NDArray:
    return fl.FORMATS["f16"].canonical(x.astype(np.float16))


def _wrapped(x: NDArray) -> NDArray:
    return x.astype(np.int64).astype(np.int32)


def _clamped(x: NDArray) -> NDArray:
    return np.clip(x, -(2.0**31), 2.0**31 - 1).astype(np.int32)


class _Accumulators:
    """The accumulators C and D: their type, and how f64 is rounded to it. Two of f16 share a register."""

    def __init__(self, kind: str, rounded: Callable[[NDArray], NDArray]):
        self.pairs = kind == "f16"
        self.register = TYPES["f16x2" if self.pairs else kind]
        self.rounded = rounded

    def values(self, registers: NDArray) -> NDArray:
        return (registers.view(np.float16) if self.pairs else registers).astype(np.float64)

    def registers(self, values: NDArray) -> NDArray:
        rounded = self.rounded(values)
        return rounded.view(np.uint32) if self.pairs else rounded


def _multiplication(
    decoder: Decoder, m: Modifiers, accumulators: _Accumulators, multiply: Multiply = _sum_of_products
) -> Execute:
    rows, columns, depth = (int(part) for part in str(m["shape"])[1:].replace("n", " ").replace("k", " ").split())
    element_a, element_b = _ELEMENTS[str(m["a"])], _ELEMENTS[str(m["b"])]
    per_register = element_a.per_register
    destination, source_a, source_b, source_c = decoder.operands(4)
    _for_warp(decoder)
    warps = _warps(decoder)

    registers_a, registers_b = rows // 8 * depth // (4 * per_register), depth // (4 * per_register)
    registers_c = rows // 4 // (2 if accumulators.pairs else 1)

    def reads(operand: Operand, count: int, kind: str) -> list[Read]:
        return [decoder.read(part, TYPES[kind]) for part in decoder.vector(operand, count)]

    read_a = reads(source_a, registers_a, element_a.register)
    read_b = reads(source_b, registers_b, element_b.register)
    read_c = reads(source_c, registers_c, accumulators.register.name)
    parts = decoder.vector(destination, registers_c)
    writes = [decoder.write(part, accumulators.register, may_be_dropped=True) for part in parts]

    group, thread = _GROUP[:, None, None], _THREAD[:, None, None]
    within = per_register * thread + np.arange(per_register)
    r = np.arange(registers_a)[:, None]
    row_groups = rows // 8
    place_a = group + 8 * (r % row_groups), 4 * per_register * (r // row_groups) + within
    r = np.arange(registers_b)[:, None]
    place_b = 4 * per_register * r + within, group
    i = np.arange(rows // 4)
    place_c = _GROUP[:, None] + 8 * (i // 2), 2 * _THREAD[:, None] + i % 2

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        count = warps(chunk, lanes)
        a, b, c = (np.empty((count, *shape)) for shape in ((rows, depth), (depth, columns), (rows, columns)))
        a[:, *place_a] = element_a.values(_gather(chunk, lanes, read_a))
        b[:, *place_b] = element_b.values(_gather(chunk, lanes, read_b))
        c[:, *place_c] = accumulators.values(_gather(chunk, lanes, read_c))
        d = multiply(a, b, c)[:, *place_c]
        _scatter(chunk, lanes, writes, accumulators.registers(np.ascontiguousarray(d)))

    return execute


_MMA = "mma sync aligned"


@instruction(f"{_MMA} shape=m16n8k8|m16n8k16 row col d=f16 a=f16 b=f16 c=f16")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    return _multiplication(decoder, m, _Accumulators("f16", _f16))


@instruction(f"{_MMA} shape=m16n8k8|m16n8k16 row col d=f32 a=f16 b=f16 c=f32")
@instruction(f"{_MMA} shape=m16n8k8|m16n8k16 row col d=f32 a=bf16 b=bf16 c=f32", since=80)
@instruction(f"{_MMA} shape=m16n8k4|m16n8k8 row col d=f32 a=tf32 b=tf32 c=f32", since=80)
def _(decoder: Decoder, m: Modifiers) -> Execute:
    return _multiplication(decoder, m, _Accumulators("f32", _f32))


@instruction(f"{_MMA} shape=m8n8k4 row col d=f64 a=f64 b=f64 c=f64", since=80)
@instruction(f"{_MMA} shape=m16n8k4|m16n8k8|m16n8k16 row col d=f64 a=f64 b=f64 c=f64", since=90)
def _(decoder: Decoder, m: Modifiers) -> Execute:
    return _multiplication(decoder, m, _Accumulators("f64", lambda x: x), _chain)


@instruction(f"{_MMA} shape=m8n8k16|m16n8k16|m16n8k32 row col satfinite? d=s32 a=s8|u8 b=s8|u8 c=s32")
@instruction(f"{_MMA} shape=m8n8k32|m16n8k32|m16n8k64 row col satfinite? d=s32 a=s4|u4 b=s4|u4 c=s32")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    return _multiplication(decoder, m, _Accumulators("s32", _clamped if m["satfinite"] else _wrapped))


@instruction(f"{_MMA} shape=m8n8k128|m16n8k128|m16n8k256 row col d=s32 a=b1 b=b1 c=s32 operation=and|xor popc")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    multiply = _count_common if m["operation"] == "and" else _count_different
    return _multiplication(decoder, m, _Accumulators("s32", _wrapped), multiply)


# Matrices of 8 rows of 8 elements of 16 bits, in shared memory and in registers

_MATRICES = {"x1": 1, "x2": 2, "x4": 4}
_ROW_BYTES = 16
_PLACE = (_GROUP[:, None], 2 * _THREAD[:, None] + np.arange(2))
"""Row and column of the two elements that a lane holds."""


def _of_rows(chunk: Chunk, lanes: Lanes, read: Read, count: int) -> tuple[NDArray[np.intp], NDArray[np.uint64]]:
    """The lanes whose addresses are those of rows, eight for each of `count` matrices, and these addresses."""
    first = lane_indices(lanes).reshape(-1, WARP_SIZE)[:, : 8 * count]
    addresses = np.broadcast_to(read(chunk, lanes), lane_count(lanes)).reshape(-1, WARP_SIZE)[:, : 8 * count]
    return first.reshape(-1), np.ascontiguousarray(addresses).reshape(-1)


@instruction("ldmatrix sync aligned m8n8 number=x1|x2|x4 trans? space=shared|shared::cta? b16", since=75)
def _(decoder: Decoder, m: Modifiers) -> Execute:
    destination, source = decoder.operands(2)
    count, space, instruction = _MATRICES[str(m["number"])], space_of(m), decoder.instruction
    _for_warp(decoder)
    warps = _warps(decoder)
    writes = [decoder.write(part, TYPES["b32"], may_be_dropped=True) for part in decoder.vector(destination, count)]
    address = decoder.address(source, space)
    place = _PLACE[::-1] if m["trans"] else _PLACE

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        shape = (warps(chunk, lanes), count, 8, 8)
        who, addresses = _of_rows(chunk, lanes, address, count)
        words = np.stack(chunk.load(instruction, space, who, addresses, 8, _ROW_BYTES // 8), axis=1)
        matrices = words.view(np.uint16).reshape(shape)
        pairs = np.ascontiguousarray(matrices[:, :, *place]).view(np.uint32)[..., 0]
        _scatter(chunk, lanes, writes, pairs.transpose(0, 2, 1))

    return execute


@instruction("stmatrix sync aligned m8n8 number=x1|x2|x4 trans? space=shared|shared::cta? b16", since=90)
def _(decoder: Decoder, m: Modifiers) -> Execute:
    destination, source = decoder.operands(2)
    count, space, instruction = _MATRICES[str(m["number"])], space_of(m), decoder.instruction
    _for_warp(decoder)
    warps = _warps(decoder)
    reads = [decoder.read(part, TYPES["b32"]) for part in decoder.vector(source, count)]
    address = decoder.address(destination, space)
    place = _PLACE[::-1] if m["trans"] else _PLACE

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        matrices = np.empty((warps(chunk, lanes), count, 8, 8), np.uint16)
        pairs = _gather(chunk, lanes, reads).transpose(0, 2, 1)
        matrices[:, :, *place] = np.ascontiguousarray(pairs)[..., None].view(np.uint16)
        words = matrices.reshape(-1, 8).view(np.uint64)
        who, addresses = _of_rows(chunk, lanes, address, count)
        chunk.store(instruction, space, who, addresses, [np.ascontiguousarray(word) for word in words.T])

    return execute


@instruction("movmatrix sync aligned m8n8 trans b16", since=75)
def _(decoder: Decoder, m: Modifiers) -> Execute:
    destination, source = decoder.operands(2)
    if not isinstance(source, Register):
        raise decoder.invalid("the source must be a register")
    _for_warp(decoder)
    warps = _warps(decoder)
    write, read = decoder.write(destination, TYPES["b32"]), decoder.read(source, TYPES["b32"])

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        matrices = np.empty((warps(chunk, lanes), 8, 8), np.uint16)
        matrices[:, *_PLACE] = _gather(chunk, lanes, [read]).view(np.uint16)
        transposed = np.ascontiguousarray(matrices[:, *_PLACE[::-1]])
        _scatter(chunk, lanes, [write], transposed.view(np.uint32))

    return execute
