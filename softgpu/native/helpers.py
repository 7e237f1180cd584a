"""Functions that compiled kernels call, compiled by numba, and the intrinsics that the runtime needs."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import int32, int64, types
from numba.extending import intrinsic as untyped_intrinsic

from softgpu.jit import callback, inlined
from softgpu.memory import LOCAL_WINDOW, PARAMETER_WINDOW, SHARED_WINDOW
from softgpu.native import layout

WINDOW = SHARED_WINDOW
SHARED, LOCAL, PARAMETER = (window // WINDOW for window in (SHARED_WINDOW, LOCAL_WINDOW, PARAMETER_WINDOW))


intrinsic: Any = untyped_intrinsic
"""Without its types, which describe the function that builds an intrinsic, not how it is called."""


@intrinsic
def load64(typing: Any, address: Any) -> Any:
    """The 64-bit word at a host address."""

    def build(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return b.load(b.inttoptr(arguments[0], ir.IntType(64).as_pointer()))

    return types.int64(types.int64), build


@intrinsic
def store64(typing: Any, address: Any, value: Any) -> Any:
    """Store a 64-bit word at a host address."""

    def build(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        b.store(arguments[1], b.inttoptr(arguments[0], ir.IntType(64).as_pointer()))
        return context.get_dummy_value()

    return types.none(types.int64, types.int64), build


@intrinsic
def call_thread(typing: Any, function: Any, context_address: Any, frame: Any, thread: Any) -> Any:
    """Run a thread of a compiled kernel, given the function's address."""

    def build(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(32), [ir.IntType(64), ir.IntType(64), ir.IntType(32)])
        return b.call(b.inttoptr(arguments[0], kind.as_pointer()), arguments[1:])

    return types.int32(types.int64, types.int64, types.int64, types.int32), build


@inlined
def _word(context: int, word: int) -> int:
    return load64(context + 8 * word)


def locate(context: int, site: int, address: int, size: int, local: int, local_bytes: int, parameter_bytes: int) -> int:
    """The host address of an access, 0 if it is not allowed; the allocation is remembered for the instruction.

    `parameter_bytes` is -1 where the address is not a generic one, which may lie in the other memories' windows.
    """
    if address & (size - 1) or address < 0:
        return 0
    window = address // WINDOW
    if parameter_bytes >= 0 and window > 0:
        offset = address % WINDOW
        base, total = 0, -1
        if window == SHARED:
            base, total = _word(context, layout.SHARED), _word(context, layout.SHARED_BYTES)
        elif window == LOCAL:
            base, total = local, local_bytes
        elif window == PARAMETER:
            base, total = _word(context, layout.PARAMETERS), parameter_bytes
        return base + offset if offset + size <= total else 0
    table, low, high = _word(context, layout.ALLOCATIONS), 0, _word(context, layout.ALLOCATION_COUNT)
    while low < high:
        middle = (low + high) // 2
        if load64(table + 8 * layout.ALLOCATION_WORDS * middle) <= address:
            low = middle + 1
        else:
            high = middle
    if low == 0:
        return 0
    row = table + 8 * layout.ALLOCATION_WORDS * (low - 1)
    base, total, delta = load64(row), load64(row + 8), load64(row + 16)
    if address - base + size > total:
        return 0
    cache_row = _word(context, layout.CACHES) + 8 * layout.CACHE_WORDS * site
    store64(cache_row, base)
    store64(cache_row + 8, total - size + 1)
    store64(cache_row + 16, delta)
    for word in (layout.WRITTEN, layout.RACE_CELLS):
        store64(cache_row + 8 * word, load64(row + 8 * word))
    return address + delta


def note_fault(context: int, operation: int, address: int, thread: int) -> None:
    """Remember the first access that is not allowed."""
    if _word(context, layout.FIRST_FAULT) < 0:
        first_lane, chunk = _word(context, layout.FIRST_LANE), _word(context, layout.CHUNK)
        threads = 1
        for axis in range(3):
            threads *= _word(context, layout.BLOCK_EXTENT + axis)
        place = context + 8 * layout.FIRST_FAULT
        store64(place, operation)
        store64(place + 8, address)
        store64(place + 16, thread)
        store64(place + 24, chunk + first_lane // threads)


def half_to_double(bits: int) -> float:
    """The value of a half, exactly."""
    exponent, fraction = bits >> 10 & 31, bits & 1023
    if exponent == 31:
        value = np.inf if fraction == 0 else np.nan
    elif exponent == 0:
        value = fraction * 2.0**-24
    else:
        value = (fraction + 1024) * 2.0 ** (exponent - 25)
    return -value if bits & 0x8000 else value


def double_to_half(value: float) -> int:
    """Rounded to the nearest half, to even in the middle; NaN becomes 0x7fff."""
    if np.isnan(value):
        return 0x7FFF
    sign = 0x8000 if np.signbit(value) else 0
    size = abs(value)
    if size >= 65520.0:
        return sign | 0x7C00
    # The last bit of a half of this size is worth 2**unit.
    unit = max(math.frexp(size)[1] - 11, -24) if size > 0 else -24
    steps = int(np.rint(size * 2.0**-unit))
    return sign | ((unit + 24) * 1024 + steps)


_HELPERS = {
    "locate": (locate, int64(*[int64] * 7)),
    "note_fault": (note_fault, types.void(*[int64] * 4)),
    "half_to_double": (half_to_double, types.float64(int32)),
    "double_to_half": (double_to_half, int32(types.float64)),
}


@cache
def _compiled(name: str) -> Any:
    function, signature = _HELPERS[name]
    return callback(signature, function)


class Helpers(dict[str, int]):
    """The address of each helper, compiled when it is first asked for."""

    def __missing__(self, name: str) -> int:
        self[name] = _compiled(name).address
        return self[name]


HELPERS = Helpers()
