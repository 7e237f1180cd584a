"""Moving values between registers, packing them, and converting addresses (PTX ISA 9.7.9)."""

from __future__ import annotations

import numpy as np

from softgpu.instructions.decoder import Decoder
from softgpu.instructions.table import TYPES, Compute, Modifiers, Type, computes, instruction
from softgpu.machine import Chunk, Lanes, lane_count
from softgpu.memory import LOCAL_WINDOW, PARAMETER_WINDOW, SHARED_WINDOW, WINDOW_SHIFT
from softgpu.program import Execute
from softgpu.ptx import Operand, Vector

MOVED = "pred|b16|b32|b64|u16|u32|u64|s16|s32|s64|f16|f32|f64"


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
    part = _part_type(decoder, kind, len(source.elements))
    reads = [decoder.read(element, part) for element in source.elements]
    write = decoder.write(destination, kind)

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        parts = np.empty((lane_count(lanes), len(reads)), part.dtype)
        for column, read in enumerate(reads):
            parts[:, column] = read(chunk, lanes)
        write(chunk, lanes, parts.view(f"u{kind.bits // 8}").reshape(-1))

    return execute


def _unpack(decoder: Decoder, destination: Vector, source: Operand, kind: Type) -> Execute:
    """mov.b64 {low, high}, a"""
    part = _part_type(decoder, kind, len(destination.elements))
    read = decoder.read(source, kind)
    writes = [decoder.write(element, part) for element in destination.elements]

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        parts = np.ascontiguousarray(read(chunk, lanes)).view(part.dtype).reshape(-1, len(writes)).copy()
        for column, write in enumerate(writes):
            write(chunk, lanes, parts[:, column])

    return execute


def _part_type(decoder: Decoder, kind: Type, count: int) -> Type:
    if kind.name[0] != "b" or count not in (2, 4) or kind.bits // count not in (16, 32):
        raise decoder.unsupported("this packing")
    return TYPES[f"b{kind.bits // count}"]


_SPACE_WINDOWS = {
    "shared": SHARED_WINDOW,
    "shared::cta": SHARED_WINDOW,
    "local": LOCAL_WINDOW,
    "param": PARAMETER_WINDOW,
}
_CONVERTIBLE = "space=global|shared|shared::cta|local|const|param"


@computes(f"cvta {_CONVERTIBLE} type=u64", "T = T")
def _(m: Modifiers) -> Compute:
    window = np.uint64(_SPACE_WINDOWS.get(str(m["space"]), 0))
    return lambda a: a + window


@computes(f"cvta to {_CONVERTIBLE} type=u64", "T = T")
def _(m: Modifiers) -> Compute:
    window = np.uint64(_SPACE_WINDOWS.get(str(m["space"]), 0))
    return lambda a: a - window


@computes("isspacep space=global|shared|shared::cta|local", "pred = u64")
def _(m: Modifiers) -> Compute:
    window = np.uint64(_SPACE_WINDOWS.get(str(m["space"]), 0)) >> WINDOW_SHIFT
    return lambda a: a >> WINDOW_SHIFT == window
