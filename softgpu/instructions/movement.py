"""Moving values between registers, packing them, and converting addresses (PTX ISA 9.7.9)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from softgpu.instructions.decoder import Decoder
from softgpu.instructions.table import TYPES, Compute, Modifiers, Type, computes, instruction
from softgpu.machine import Chunk, Lanes, lane_count
from softgpu.memory import LOCAL_WINDOW, PARAMETER_WINDOW, SHARED_WINDOW, WINDOW_SHIFT
from softgpu.program import Execute
from softgpu.ptx import Operand, Vector

MOVED = "pred|b16|b32|b64|u16|u32|u64|s16|s32|s64|f32|f64"


@instruction(f"mov type={MOVED}")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    destination, source = decoder.operands(2)
    if isinstance(source, Vector):
        return _pack(decoder, destination, source, m.type)
    if isinstance(destination, Vector):
        return _unpack(decoder, destination, source, m.type)
    return decoder.compute(lambda a: a, destination, "T", [source], "T", m)


def _pack(decoder: Decoder, destination: Operand, source: Vector, kind: Type) -> Execute:
    """mov.b64 d, {low, high}"""
    count = len(source.elements)
    part = _part_type(decoder, kind, count)
    reads = [decoder.read(element, part) for element in decoder.vector(source, count)]
    write = decoder.write(destination, kind)

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        parts = np.empty((lane_count(lanes), len(reads)), part.dtype)
        for column, read in enumerate(reads):
            parts[:, column] = read(chunk, lanes)
        write(chunk, lanes, parts.view(f"u{kind.bits // 8}").reshape(-1))

    return execute


def _unpack(decoder: Decoder, destination: Vector, source: Operand, kind: Type) -> Execute:
    """mov.b64 {low, high}, a"""
    count = len(destination.elements)
    part = _part_type(decoder, kind, count)
    read = decoder.read(source, kind)
    writes = [decoder.write(element, part, may_be_dropped=True) for element in decoder.vector(destination, count)]

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        parts = np.ascontiguousarray(read(chunk, lanes)).view(part.dtype).reshape(-1, len(writes)).copy()
        for column, write in enumerate(writes):
            write(chunk, lanes, parts[:, column])

    return execute


def _part_type(decoder: Decoder, kind: Type, count: int) -> Type:
    if kind.name[0] != "b" or count not in (2, 4) or kind.bits // count < 8:
        raise decoder.unsupported("this packing")
    return TYPES[f"b{kind.bits // count}"]


@instruction("mov size=v2 type=b16|b32|b64|u16|u32|u64|s16|s32|s64|f32|f64")
@instruction("mov size=v4 type=b16|b32|u16|u32|s16|s32|f32")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    """mov.v2.b32 {a, b}, {c, d}: all sources are read before any destination is written."""
    destination, source = decoder.operands(2)
    count = int(str(m["size"])[1:])
    reads = [decoder.read(element, m.type) for element in decoder.vector(source, count)]
    writes = [decoder.write(element, m.type, may_be_dropped=True) for element in decoder.vector(destination, count)]

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        values = [read(chunk, lanes).copy() for read in reads]
        for write, value in zip(writes, values, strict=True):
            write(chunk, lanes, value)

    return execute


# Addresses

_SPACE_WINDOWS = {
    "shared": SHARED_WINDOW,
    "shared::cta": SHARED_WINDOW,
    "shared::cluster": SHARED_WINDOW,
    "local": LOCAL_WINDOW,
    "param": PARAMETER_WINDOW,
    "param::entry": PARAMETER_WINDOW,
}
_SPACES = "global|shared|shared::cta|local|const|param|param::entry"


def _window(m: Modifiers) -> np.uint64:
    """Where the addresses of a space begin among the generic ones. Global and constant memory begin at 0; a block
    is a cluster of its own."""
    return np.uint64(_SPACE_WINDOWS.get(str(m["space"]), 0))


@computes(f"cvta space={_SPACES} type=u64", "T = T")
@computes("cvta space=shared::cluster type=u64", "T = T", since=90)
def _(m: Modifiers) -> Compute:
    window = _window(m)
    return lambda a: a + window


@computes(f"cvta to space={_SPACES} type=u64", "T = T")
@computes("cvta to space=shared::cluster type=u64", "T = T", since=90)
def _(m: Modifiers) -> Compute:
    window = _window(m)
    return lambda a: a - window


@computes("isspacep space=shared::cluster", "pred = u64", since=90)
@computes("isspacep space=shared|shared::cta|local|param|param::entry", "pred = u64")
def _(m: Modifiers) -> Compute:
    window = _window(m) >> WINDOW_SHIFT
    return lambda a: a >> WINDOW_SHIFT == window


@instruction("isspacep space=global|const")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    destination, source = decoder.operands(2)
    read, write = decoder.read(source, TYPES["u64"]), decoder.write(destination, TYPES["pred"])
    constants = [variable for variable in decoder.program.module.variables.values() if variable.space == "const"]
    wants_constant = m["space"] == "const"

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        address = read(chunk, lanes)
        constant = np.zeros(address.shape, bool)
        for variable in constants:
            start = np.uint64(chunk.launch.symbols[variable.name])
            constant |= (address >= start) & (address - start < np.uint64(variable.nbytes))
        write(chunk, lanes, constant if wants_constant else _outside_windows(address) & ~constant)

    return execute


def _outside_windows(address: NDArray) -> NDArray:
    windows = [np.uint64(window) >> WINDOW_SHIFT for window in (SHARED_WINDOW, LOCAL_WINDOW, PARAMETER_WINDOW)]
    return ~np.isin(address >> WINDOW_SHIFT, windows)


# A block is a cluster of its own, of rank 0: its shared memory has one address within the block and the cluster.


@computes("mapa space=shared::cluster? type=u32|u64", "T = T u32", since=90)
def _(m: Modifiers) -> Compute:
    return lambda address, rank: address


@computes("getctarank space=shared::cluster? type=u32|u64", "u32 = T", since=90)
def _(m: Modifiers) -> Compute:
    return lambda address: np.zeros(1, np.uint32)
