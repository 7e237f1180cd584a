"""Loads, stores and atomics (PTX ISA 9.7.9 and 9.7.13)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from softgpu import arithmetic as ar
from softgpu.instructions.decoder import Decoder
from softgpu.instructions.table import Compute, Modifiers, instruction
from softgpu.machine import Chunk, Lanes
from softgpu.program import Execute
from softgpu.ptx import Operand, Sink

MEMORY_TYPES = "b8|b16|b32|b64|u8|u16|u32|u64|s8|s16|s32|s64|f32|f64"
# One thread after the other sees memory in order here, so ordering and caching hints change nothing.
ORDER = "order=weak|relaxed|acquire|release|volatile? scope=cta|cluster|gpu|sys?"
_EVICTION = "L1::evict_normal|L1::evict_unchanged|L1::evict_first|L1::evict_last|L1::no_allocate"
_LEVEL_2 = "L2::evict_normal|L2::evict_first|L2::evict_last"
LOAD_HINTS = f"cache=ca|cg|cs|lu|cv? evict={_EVICTION}? evict2={_LEVEL_2}? prefetch=L2::64B|L2::128B|L2::256B?"
STORE_HINTS = f"cache=wb|cg|cs|wt? evict={_EVICTION}? evict2={_LEVEL_2}?"
_VECTOR_SIZES = {None: 1, "v2": 2, "v4": 4}


def _space(m: Modifiers) -> str:
    return (m["space"] or "generic").partition("::")[0]


@instruction(
    f"ld {ORDER} space=param|param::entry|global|shared|shared::cta|local|const? nc? {LOAD_HINTS} "
    f"vector=v2|v4? type={MEMORY_TYPES}"
)
def _(decoder: Decoder, m: Modifiers) -> Execute:
    destination, source = decoder.operands(2)
    parts = decoder.elements(destination, _VECTOR_SIZES[m["vector"]])
    writes = [decoder.write(part, m.type, widths_may_differ=True) for part in parts]
    address, space, kind = decoder.address(source), _space(m), m.type.dtype
    instruction = decoder.instruction

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        columns = chunk.load(instruction, space, lanes, address(chunk, lanes), kind.itemsize, len(writes))
        for write, column in zip(writes, columns, strict=True):
            write(chunk, lanes, column.view(kind))

    return execute


@instruction(f"st {ORDER} space=global|shared|shared::cta|local? {STORE_HINTS} vector=v2|v4? type={MEMORY_TYPES}")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    destination, source = decoder.operands(2)
    parts = decoder.elements(source, _VECTOR_SIZES[m["vector"]])
    reads = [decoder.read(part, m.type, widths_may_differ=True) for part in parts]
    address, space, word = decoder.address(destination), _space(m), f"u{m.type.bits // 8}"
    instruction = decoder.instruction

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        columns = [read(chunk, lanes).view(word) for read in reads]
        chunk.store(instruction, space, lanes, address(chunk, lanes), columns)

    return execute


def _wrapping_increment(old: NDArray, limit: NDArray) -> NDArray:
    return np.where(old >= limit, np.uint32(0), old + np.uint32(1))


def _wrapping_decrement(old: NDArray, limit: NDArray) -> NDArray:
    return np.where((old == 0) | (old > limit), limit, old - np.uint32(1))


def _add_flushing(old: NDArray, value: NDArray) -> NDArray:
    """atom.add.f32 on global memory flushes subnormals (PTX ISA 9.7.13.x, atom)."""
    return ar.flush(ar.flush(old) + ar.flush(value))


ATOMIC_UPDATES: dict[str, Compute] = {
    "add": np.add,
    "min": np.minimum,
    "max": np.maximum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "inc": _wrapping_increment,
    "dec": _wrapping_decrement,
    "exch": lambda old, value: value,
    "cas": lambda old, expected, value: np.where(old == expected, value, old),
}

_ATOMIC_PLACE = "order=relaxed|acquire|release|acq_rel? scope=cta|cluster|gpu|sys? space=global|shared|shared::cta?"
_ATOMIC_OPERATIONS = (
    "operation=add type=u32|s32|u64|f32|f64",
    "operation=min|max type=u32|s32|u64|s64",
    "operation=and|or|xor type=b32|b64",
    "operation=inc|dec type=u32",
)


def _atomic(decoder: Decoder, m: Modifiers, destination: Operand, operands: Sequence[Operand]) -> Execute:
    place, *values = operands
    operation, kind, space = str(m["operation"]), m.type, _space(m)
    update = ATOMIC_UPDATES[operation]
    if operation == "add" and kind.name == "f32" and space != "shared":
        update = _add_flushing
    address, reads = decoder.address(place), [decoder.read(value, kind) for value in values]
    write, instruction = decoder.write(destination, kind), decoder.instruction

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        sources = [read(chunk, lanes) for read in reads]
        before = chunk.atomic(instruction, space, lanes, address(chunk, lanes), kind.dtype, update, sources)
        write(chunk, lanes, before)

    return execute


def _atom(decoder: Decoder, m: Modifiers) -> Execute:
    destination, *operands = decoder.operands(4 if m["operation"] == "cas" else 3)
    return _atomic(decoder, m, destination, operands)


def _red(decoder: Decoder, m: Modifiers) -> Execute:
    return _atomic(decoder, m, Sink(), decoder.operands(2))


for _operands in _ATOMIC_OPERATIONS:
    instruction(f"atom {_ATOMIC_PLACE} {_operands}")(_atom)
    instruction(f"red {_ATOMIC_PLACE} {_operands}")(_red)
instruction(f"atom {_ATOMIC_PLACE} operation=exch type=b32|b64|u32|s32|u64|f32")(_atom)
instruction(f"atom {_ATOMIC_PLACE} operation=cas type=b16|b32|b64|u32|s32|u64")(_atom)
