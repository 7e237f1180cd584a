"""Loads, stores, atomics and cache control (PTX ISA 9.7.9 and 9.7.13)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from softgpu import floats as fl
from softgpu.events import PLAIN, EventFlag
from softgpu.instructions.decoder import Decoder
from softgpu.instructions.table import TYPES, Compute, Modifiers, Type, instruction
from softgpu.machine import Chunk, Lanes
from softgpu.program import Execute
from softgpu.ptx import Immediate, Operand

SCOPE = "scope=cta|cluster|gpu|sys"
_SCALAR = "type=b8|b16|b32|b64|u8|u16|u32|u64|s8|s16|s32|s64|f32|f64"
_DATA = f"vector=v2|v4? {_SCALAR}"
_LOAD_CACHE = "cache=ca|cg|cs|lu|cv"
_STORE_CACHE = "cache=wb|cg|cs|wt"
_ANY_SPACE = "space=param|param::entry|global|shared|shared::cta|shared::cluster|local|const?"
_WRITABLE = "space=global|shared|shared::cta|shared::cluster|local?"
_COMMON = "space=global|shared|shared::cta|shared::cluster?"
"""The memories that threads have in common: only there is an access ordered with those of others."""

# Hints to the caches change nothing here. They are for global memory; an eviction takes the place of a cache operator.
_GLOBAL = "space=global?"
_EVICT = "evict=L1::evict_normal|L1::evict_unchanged|L1::evict_first|L1::evict_last|L1::no_allocate?"
_PREFETCH = "prefetch=L2::64B|L2::128B|L2::256B?"
_HINTS = f"L2::cache_hint? {_PREFETCH}"

_ORDERS = {
    "volatile": EventFlag.STRONG,
    "relaxed": EventFlag.STRONG,
    "acquire": EventFlag.STRONG | EventFlag.ACQUIRE,
    "release": EventFlag.STRONG | EventFlag.RELEASE,
    "acq_rel": EventFlag.STRONG | EventFlag.ACQUIRE | EventFlag.RELEASE,
}
_VECTOR_SIZES = {None: 1, "v2": 2, "v4": 4, "v8": 8}
_LARGEST_ACCESS = 16
_CACHE_LINE = 128


def space_of(m: Modifiers) -> str:
    """The state space. A block is a cluster of its own, so that `shared::cluster` is its shared memory."""
    return (m["space"] or "generic").partition("::")[0]


def _operands(decoder: Decoder, m: Modifiers, count: int) -> tuple[Operand, ...]:
    """The operands but for the cache policy that comes with a cache hint."""
    if not m["L2::cache_hint"]:
        return decoder.operands(count)
    *operands, policy = decoder.operands(count + 1)
    decoder.read(policy, TYPES["u64"])
    return tuple(operands)


def _vector(decoder: Decoder, m: Modifiers) -> int:
    """How many elements are accessed together."""
    count = _VECTOR_SIZES[m["vector"]]
    if count * m.type.bits > 8 * _LARGEST_ACCESS:
        raise decoder.unsupported("vectors of more than 16 bytes")
    return count


# Loads and stores


@instruction(f"ld weak? {_ANY_SPACE} {_LOAD_CACHE}? {_DATA}")
@instruction(f"ld weak? {_GLOBAL} {_LOAD_CACHE}? {_HINTS} {_DATA}")
@instruction(f"ld weak? {_GLOBAL} {_EVICT} {_HINTS} {_DATA}")
@instruction(f"ld space=global cache=ca|cg|cs? nc {_HINTS} {_DATA}")
@instruction(f"ld space=global nc {_EVICT} {_HINTS} {_DATA}")
@instruction(f"ld order=volatile {_COMMON} {_DATA}")
@instruction(f"ld order=volatile {_GLOBAL} {_PREFETCH} {_DATA}")
@instruction(f"ld order=relaxed|acquire {SCOPE} {_COMMON} {_DATA}")
@instruction(f"ld order=relaxed|acquire {SCOPE} {_GLOBAL} {_EVICT} {_HINTS} {_DATA}")
@instruction(f"ld mmio order=relaxed sys {_GLOBAL} {_SCALAR}")
@instruction(f"ldu {_GLOBAL} {_DATA}")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    destination, source = _operands(decoder, m, 2)
    parts = decoder.elements(destination, _vector(decoder, m))
    may_be_dropped = len(parts) > 1
    writes = [decoder.write(part, m.type, widths_may_differ=True, may_be_dropped=may_be_dropped) for part in parts]
    address, space, kind = decoder.address(source, space_of(m)), space_of(m), m.type.dtype
    flags, instruction = _ORDERS.get(str(m["order"]), PLAIN), decoder.instruction

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        columns = chunk.load(instruction, space, lanes, address(chunk, lanes), kind.itemsize, len(writes), flags)
        for write, column in zip(writes, columns, strict=True):
            write(chunk, lanes, column.view(kind))

    return execute


@instruction(f"st weak? {_WRITABLE} {_STORE_CACHE}? {_DATA}")
@instruction(f"st weak? {_GLOBAL} {_STORE_CACHE}? L2::cache_hint? {_DATA}")
@instruction(f"st weak? {_GLOBAL} {_EVICT} L2::cache_hint? {_DATA}")
@instruction(f"st order=volatile {_COMMON} {_DATA}")
@instruction(f"st order=relaxed|release {SCOPE} {_COMMON} {_DATA}")
@instruction(f"st order=relaxed|release {SCOPE} {_GLOBAL} {_EVICT} L2::cache_hint? {_DATA}")
@instruction(f"st mmio order=relaxed sys {_GLOBAL} {_SCALAR}")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    destination, source = _operands(decoder, m, 2)
    parts = decoder.elements(source, _vector(decoder, m))
    reads = [decoder.read(part, m.type, widths_may_differ=True) for part in parts]
    address, space, word = decoder.address(destination, space_of(m)), space_of(m), f"u{m.type.bits // 8}"
    flags, instruction = _ORDERS.get(str(m["order"]), PLAIN), decoder.instruction

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        columns = [read(chunk, lanes).view(word) for read in reads]
        chunk.store(instruction, space, lanes, address(chunk, lanes), columns, flags)

    return execute


# Atomics


def _increment(old: NDArray, limit: NDArray) -> NDArray:
    return np.where(old >= limit, np.uint32(0), old + np.uint32(1))


def _decrement(old: NDArray, limit: NDArray) -> NDArray:
    return np.where((old == 0) | (old > limit), limit, old - np.uint32(1))


def _canonical(x: NDArray) -> NDArray:
    return fl.FORMATS[f"f{8 * x.dtype.itemsize}"].canonical(x)


def _add_float(old: NDArray, value: NDArray) -> NDArray:
    return _canonical(old + value)


class _AddFlushing:
    """Addition of f32 that takes subnormals for zeros; like NumPy's own operations it can accumulate."""

    def __call__(self, old: NDArray, value: NDArray) -> NDArray:
        return self._flush(_canonical(self._flush(old) + self._flush(value)))

    def accumulate(self, values: NDArray, dtype: np.dtype) -> NDArray:
        """The first value as it is, then the sums of the first two, the first three, …"""
        sums = np.add.accumulate(self._flush(values), dtype=dtype)
        if not (self._flush(sums) == sums).all():
            # A sum is subnormal, or it is NaN.
            for number in range(1, len(sums)):
                sums[number] = self(sums[number - 1 : number], values[number : number + 1])[0]
        sums[0] = values[0]
        return sums

    @staticmethod
    def _flush(x: NDArray) -> NDArray:
        return fl.flush(x, fl.FORMATS["f32"])


def _on_bfloats(compute: Compute) -> Compute:
    """The operation on the bits of bf16 numbers. Rounding to f32 in between does no harm: it has more than twice the
    precision."""
    brain = fl.FORMATS["bf16"]
    return lambda old, value: brain.canonical(
        brain.round(compute(brain.unpack(old), brain.unpack(value)).astype(np.float64))
    )


def _on_pairs(compute: Compute, half: str) -> Compute:
    """The operation on both halves of a word."""
    return lambda old, value: compute(old.view(half), value.view(half)).view(old.dtype)


_INTEGER_UPDATES: dict[str, Compute] = {
    "add": np.add,
    "min": np.minimum,
    "max": np.maximum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "inc": _increment,
    "dec": _decrement,
    "exch": lambda old, value: value,
    "cas": lambda old, expected, value: np.where(old == expected, value, old),
}
_FLOAT_UPDATES: dict[str, Compute] = {
    "add": _add_float,
    "min": lambda old, value: _canonical(fl.minimum(old, value, False)),
    "max": lambda old, value: _canonical(fl.maximum(old, value, False)),
}


def _update(operation: str, kind: Type) -> Callable[[str], Compute]:
    """The operation on words of a type, for each state space.

    `add.f32` flushes subnormals in global memory, but not in shared memory (PTX ISA, `atom`).
    """
    if operation in ("exch", "cas") or (kind.name[0] in "bus" and "bf16" not in kind.name):
        return lambda space: _INTEGER_UPDATES[operation]
    compute = _FLOAT_UPDATES[operation]
    if kind.name == "f64":
        return lambda space: np.add
    if kind.name == "f32":
        return lambda space: compute if space == "shared" else _AddFlushing()
    if kind.name.startswith("bf16"):
        compute = _on_bfloats(compute)
    if kind.name.endswith("x2"):
        compute = _on_pairs(compute, "u2" if kind.name == "bf16x2" else "f2")
    return lambda space: compute


def _atomic(decoder: Decoder, m: Modifiers) -> Execute:
    operation, kind, space = str(m["operation"]), m.type, space_of(m)
    values = 2 if operation == "cas" else 1
    if decoder.instruction.opcode == "red":
        place, *operands = _operands(decoder, m, 1 + values)
        writes = []
    else:
        destination, place, *operands = _operands(decoder, m, 2 + values)
        parts = decoder.elements(destination, _vector(decoder, m))
        writes = [decoder.write(part, kind, may_be_dropped=True) for part in parts]
    reads = [
        [decoder.read(element, kind) for element in decoder.elements(operand, _vector(decoder, m))]
        for operand in operands
    ]
    address, update = decoder.address(place, space), _update(operation, kind)
    flags, instruction = _ORDERS[m["order"] or "relaxed"], decoder.instruction

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        sources = [[read(chunk, lanes) for read in column] for column in zip(*reads, strict=True)]
        before = chunk.atomic(instruction, space, lanes, address(chunk, lanes), kind.dtype, update, sources, flags)
        for write, column in zip(writes, before, strict=False):
            write(chunk, lanes, column)

    return execute


_ATOM = f"atom order=relaxed|acquire|release|acq_rel? {SCOPE}?"
_RED = f"red order=relaxed|release? {SCOPE}?"
for _words in (_ATOM, _RED):
    for _operation, _types, _since in (
        ("operation=add", "type=u32|s32|u64|f32|f64", 0),
        ("operation=min|max", "type=u32|s32|u64|s64", 0),
        ("operation=and|or|xor", "type=b32|b64", 0),
        ("operation=inc|dec", "type=u32", 0),
        ("operation=add noftz", "type=f16|f16x2", 0),
        ("operation=add noftz", "type=bf16|bf16x2", 90),
    ):
        instruction(f"{_words} {_COMMON} {_operation} {_types}", _since)(_atomic)
        instruction(f"{_words} {_GLOBAL} {_operation} L2::cache_hint {_types}", _since)(_atomic)
    for _operation in (
        "operation=add L2::cache_hint? vector=v2|v4 type=f32",
        "operation=add|min|max noftz L2::cache_hint? vector=v2|v4|v8 type=f16|bf16",
        "operation=add|min|max noftz L2::cache_hint? vector=v2|v4 type=f16x2|bf16x2",
    ):
        instruction(f"{_words} {_GLOBAL} {_operation}", since=90)(_atomic)
instruction(f"{_ATOM} {_COMMON} operation=exch type=b32|b64")(_atomic)
instruction(f"{_ATOM} {_GLOBAL} operation=exch L2::cache_hint type=b32|b64")(_atomic)
instruction(f"{_ATOM} {_COMMON} operation=cas type=b16|b32|b64")(_atomic)


# Caches


@instruction("prefetch space=global|local? level=L1|L2")
@instruction("prefetch space=global level=L2::evict_last|L2::evict_normal")
@instruction("prefetchu L1")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    (place,) = decoder.operands(1)
    decoder.address(place, space_of(m))
    return lambda chunk, lanes: None


@instruction("applypriority space=global? L2::evict_normal")
@instruction("discard space=global? L2")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    place, size = decoder.operands(2)
    decoder.address(place, space_of(m))
    if not isinstance(size, Immediate) or size.value != _CACHE_LINE:
        raise decoder.invalid(f"the size must be {_CACHE_LINE}, that of a cache line")
    return lambda chunk, lanes: None


_PRIORITIES = (
    "primary=L2::evict_last|L2::evict_normal|L2::evict_first|L2::evict_unchanged "
    "secondary=L2::evict_first|L2::evict_unchanged? b64"
)


@instruction(f"createpolicy fractional {_PRIORITIES}")
@instruction(f"createpolicy range space=global? {_PRIORITIES}")
@instruction("createpolicy cvt L2 b64")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    """A cache policy is opaque; here it is always 0."""
    destination, *sources = decoder.operands(*((4,) if m["range"] else (2,) if m["cvt"] else (1, 2)))
    write = decoder.write(destination, TYPES["u64"])
    if m["range"]:
        decoder.address(sources.pop(0), space_of(m))
    for source in sources:
        decoder.read(source, TYPES["u32" if m["range"] else "u64" if m["cvt"] else "f32"])
    policy = np.zeros(1, np.uint64)
    return lambda chunk, lanes: write(chunk, lanes, policy)
