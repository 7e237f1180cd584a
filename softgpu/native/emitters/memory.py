"""Loads, stores and atomics (PTX ISA 9.7.9 and 9.7.13). Every access is checked."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir
from llvmlite.ir import Value

from softgpu.events import EventFlag, EventKind
from softgpu.instructions.memory import space_of
from softgpu.instructions.table import TYPES, Modifiers
from softgpu.memory import SHARED_WINDOW, WINDOW_SHIFT
from softgpu.native import layout
from softgpu.native.emitters.floating import by_elements, canonical, extremum, flush
from softgpu.native.emitters.integer import constant, intrinsic
from softgpu.native.emitters.movement import bits_type
from softgpu.native.emitters.table import emits
from softgpu.native.filters import watch
from softgpu.native.rounding import add_to_odd
from softgpu.native.translator import F32, I64, POINTER, Translator
from softgpu.ptx import Operand, Vector

Build = Callable[[Value], tuple[list[Value], list[Value]]]

_SCOPE = "scope=cta|cluster|gpu|sys"
_EVICTION = "L1::evict_normal|L1::evict_unchanged|L1::evict_first|L1::evict_last|L1::no_allocate"
_HINTS = f"evict={_EVICTION}? evict2=L2::evict_normal|L2::evict_first|L2::evict_last? L2::cache_hint?"
_LOAD_HINTS = f"{_HINTS} prefetch=L2::64B|L2::128B|L2::256B?"
_DATA = "vector=v2|v4? type=b8|b16|b32|b64|u8|u16|u32|u64|s8|s16|s32|s64|f32|f64"
_ANY_SPACE = "space=param|param::entry|global|shared|shared::cta|shared::cluster|local|const?"
_WRITABLE = "space=global|shared|shared::cta|shared::cluster|local?"
_COMMON = "space=global|shared|shared::cta|shared::cluster?"

_STRONG = EventFlag.STRONG
_ORDERS = {
    None: EventFlag(0),
    "volatile": _STRONG,
    "relaxed": _STRONG,
    "acquire": _STRONG | EventFlag.ACQUIRE,
    "release": _STRONG | EventFlag.RELEASE,
    "acq_rel": _STRONG | EventFlag.ACQUIRE | EventFlag.RELEASE,
}
_SPACES = {"global": 0, "shared": 1, "local": 2, "const": 3}
"""As softgpu.trace.Space."""


class Access:
    """An access of `count` elements of `nbytes` each: checks it, finds where the bytes are, and reports it."""

    def __init__(self, t: Translator, kind: EventKind, space: str, flags: EventFlag, nbytes: int, count: int = 1):
        self.t = t
        self.kind, self.space, self.flags = kind, space, flags
        self.nbytes, self.count = nbytes, count
        self.cache: Value | None = None

    def perform(self, address: Value, build: Build) -> list[Value]:
        """Access an address. `build` is given the host address, as a pointer, and returns the elements to report and
        the results; the results are returned, or zeros where a launch goes on after an invalid access."""
        t, b = self.t, self.t.b
        if self.space == "param":
            return self._parameter(address, build)
        valid = t.function.append_basic_block("valid")
        invalid = t.function.append_basic_block("invalid")
        host = self._locate(address, valid, invalid)
        b.position_at_end(invalid)
        skips = None
        if t.events:
            skips = t.function.append_basic_block("skips")
            faults = t.function.append_basic_block("faults")
            b.cbranch(b.trunc(t.context_word(layout.CONTINUES), ir.IntType(1)), skips, faults)
            b.position_at_end(faults)
        b.store(address, t.fault_address)
        b.store(constant(I64, t.pc), t.fault_pc)
        b.branch(t.faulted)
        b.position_at_end(valid)
        elements, results = build(host)
        if skips is None:
            return results
        if t.has_all_rows:
            self._report(address, elements, self.flags)
        else:
            watch(self, address, host, elements, self.cache)
        done, valid = t.function.append_basic_block("accessed"), b.block
        b.branch(done)
        b.position_at_end(skips)
        where = [b.ptrtoint(t.context, I64), constant(I64, t.pc), address, b.zext(t.thread, I64)]
        t.call_helper("note_fault", ir.VoidType(), where)
        self._report(address, [constant(element, 0) for element in elements], self.flags | EventFlag.INVALID)
        skips = b.block
        b.branch(done)
        b.position_at_end(done)
        merged = []
        for result in results:
            phi = b.phi(result.type)
            phi.add_incoming(result, valid)
            phi.add_incoming(constant(result, 0), skips)
            merged.append(phi)
        return merged

    def _locate(self, address: Value, valid: ir.Block, invalid: ir.Block) -> Value:
        t, b, size = self.t, self.t.b, self.nbytes * self.count
        aligned = b.icmp_unsigned("==", b.and_(address, constant(I64, size - 1)), constant(I64, 0))
        if self.space in ("shared", "local"):
            inside = b.icmp_unsigned("<", address, self._reach(size))
            base = t.context_word(layout.SHARED) if self.space == "shared" else self._local_base()
            b.cbranch(b.and_(inside, aligned), valid, invalid).set_weights([10000, 1])
            b.position_at_end(valid)
            return b.inttoptr(b.add(base, address), POINTER)
        self.cache = cache = b.gep(
            b.inttoptr(t.context_word(layout.CACHES), POINTER),
            [constant(I64, t.sites * layout.CACHE_WORDS)],
            source_etype=I64,
        )
        site = t.sites
        t.sites += 1
        words = [b.load(b.gep(cache, [constant(I64, word)], source_etype=I64), typ=I64) for word in range(3)]
        near = b.icmp_unsigned("<", b.sub(address, words[0]), words[1])
        quick = b.add(address, words[2])
        elsewhere = t.function.append_basic_block("elsewhere")
        before = b.block
        b.cbranch(b.and_(near, aligned), valid, elsewhere).set_weights([10000, 1])
        b.position_at_end(elsewhere)
        local = self._local_base() if self.space == "generic" else constant(I64, 0)
        arguments = [b.ptrtoint(t.context, I64), constant(I64, site), address, constant(I64, size), local]
        arguments.append(constant(I64, t.program.local_bytes))
        arguments.append(constant(I64, t.program.parameter_bytes if self.space == "generic" else -1))
        found = t.call_helper("locate", I64, arguments)
        b.cbranch(b.icmp_unsigned("!=", found, constant(I64, 0)), valid, invalid)
        elsewhere = b.block
        b.position_at_end(valid)
        host = b.phi(I64)
        host.add_incoming(quick, before)
        host.add_incoming(found, elsewhere)
        return b.inttoptr(host, POINTER)

    def _reach(self, size: int) -> Value:
        """Addresses below it are those at which an access of this size ends inside the memory."""
        t = self.t
        if self.space == "local":
            return constant(I64, max(t.program.local_bytes - size + 1, 0))

        def build(b: ir.IRBuilder) -> Value:
            total = t.context_word(layout.SHARED_BYTES)
            enough = b.icmp_unsigned(">=", total, constant(I64, size))
            return b.select(enough, b.sub(total, constant(I64, size - 1)), constant(I64, 0))

        return t.at_entry(("reach", size), build)

    def _local_base(self) -> Value:
        t = self.t

        def build(b: ir.IRBuilder) -> Value:
            offset = b.mul(b.zext(t.thread, I64), t.context_word(layout.LOCAL_STRIDE))
            return b.add(t.context_word(layout.LOCAL), offset)

        return t.at_entry("local", build)

    def _parameter(self, address: Value, build: Build) -> list[Value]:
        t, b, size = self.t, self.t.b, self.nbytes * self.count
        reach = max(t.program.parameter_bytes - size + 1, 0)
        known = isinstance(address, ir.Constant) and address.constant < reach and address.constant % size == 0
        if not known:
            valid = t.function.append_basic_block("valid")
            invalid = t.function.append_basic_block("invalid")
            aligned = b.icmp_unsigned("==", b.and_(address, constant(I64, size - 1)), constant(I64, 0))
            b.cbranch(b.and_(b.icmp_unsigned("<", address, constant(I64, reach)), aligned), valid, invalid)
            b.position_at_end(invalid)
            b.store(address, t.fault_address)
            b.store(constant(I64, t.pc), t.fault_pc)
            b.branch(t.faulted)
            b.position_at_end(valid)
        return build(b.inttoptr(b.add(t.context_word(layout.PARAMETERS), address), POINTER))[1]

    def _report(self, address: Value, elements: list[Value], flags: EventFlag) -> None:
        """Write a row of softgpu.events for each element."""
        t, b = self.t, self.t.b
        space: Value | int = _SPACES.get(self.space, 0)
        if self.space == "generic":
            # The number of a window is that of its space; beyond the windows there is nothing.
            window = b.lshr(address, constant(I64, int(WINDOW_SHIFT)))
            space = b.select(b.icmp_unsigned("<", window, constant(I64, 3)), window, constant(I64, 0))
            address = b.sub(address, b.shl(space, constant(I64, int(WINDOW_SHIFT))))
        for position, element in enumerate(elements):
            t.row(
                self.kind,
                flags=flags,
                nbytes=self.nbytes,
                space=space,
                address=b.add(address, constant(I64, position * self.nbytes)),
                value=t.resize(element, I64),
            )


def _elements(operand: Operand) -> tuple[Operand, ...]:
    return operand.elements if isinstance(operand, Vector) else (operand,)


@emits(f"ld weak? {_ANY_SPACE} cache=ca|cg|cs|lu|cv? {_LOAD_HINTS} {_DATA}")
@emits(f"ld space=global cache=ca|cg|cs? nc {_LOAD_HINTS} {_DATA}")
@emits(f"ld order=volatile {_COMMON} {_LOAD_HINTS} {_DATA}")
@emits(f"ld order=relaxed|acquire {_SCOPE} {_COMMON} {_LOAD_HINTS} {_DATA}")
@emits(f"ld mmio order=relaxed sys space=global? {_DATA}")
@emits(f"ldu space=global? {_DATA}")
def _(t: Translator, m: Modifiers) -> None:
    destination, source = t.operands()[:2]
    parts, kind = _elements(destination), bits_type(m.type)
    word = ir.IntType(kind.bits)
    access = Access(t, EventKind.LOAD, space_of(m), _ORDERS[m["order"]], kind.bits // 8, len(parts))

    def load(host: Value) -> tuple[list[Value], list[Value]]:
        elements = [
            t.b.load(t.b.gep(host, [constant(I64, position)], source_etype=word), typ=word, align=1)
            for position in range(len(parts))
        ]
        return elements, elements

    extended = m.type if m.type.dtype.kind == "i" else kind
    for part, value in zip(parts, access.perform(t.address(source), load), strict=True):
        t.write(part, extended, value)


@emits(f"st weak? {_WRITABLE} cache=wb|cg|cs|wt? {_HINTS} {_DATA}")
@emits(f"st order=volatile {_COMMON} {_HINTS} {_DATA}")
@emits(f"st order=relaxed|release {_SCOPE} {_COMMON} {_HINTS} {_DATA}")
@emits(f"st mmio order=relaxed sys space=global? {_DATA}")
def _(t: Translator, m: Modifiers) -> None:
    destination, source = t.operands()[:2]
    kind = bits_type(m.type)
    values = [t.read(part, kind) for part in _elements(source)]
    access = Access(t, EventKind.STORE, space_of(m), _ORDERS[m["order"]], kind.bits // 8, len(values))

    def store(host: Value) -> tuple[list[Value], list[Value]]:
        for position, value in enumerate(values):
            t.b.store(value, t.b.gep(host, [constant(I64, position)], source_etype=value.type), align=1)
        return values, []

    access.perform(t.address(destination), store)


# Atomics

_ATOM = f"atom order=relaxed|acquire|release|acq_rel? {_SCOPE}?"
_RED = f"red order=relaxed|release? {_SCOPE}?"


def _updated(t: Translator, m: Modifiers, space: str, address: Value, old: Value, operands: list[Value]) -> Value:
    """The word that an atomic leaves; words are given as bits."""
    b, operation, kind = t.b, str(m["operation"]), m.type
    value = operands[0]
    if operation == "exch":
        return value
    if operation == "cas":
        return b.select(b.icmp_unsigned("==", old, value), operands[1], old)
    if kind.is_float or kind.name.startswith(("f16", "bf16")):
        return _updated_floats(t, m, space, address, old, value)
    if operation == "inc":
        return b.select(b.icmp_unsigned(">=", old, value), constant(old, 0), b.add(old, constant(old, 1)))
    if operation == "dec":
        wraps = b.or_(b.icmp_unsigned("==", old, constant(old, 0)), b.icmp_unsigned(">", old, value))
        return b.select(wraps, value, b.sub(old, constant(old, 1)))
    if operation in ("min", "max"):
        return intrinsic(t, ("s" if kind.name[0] == "s" else "u") + operation, old, value)
    return {"add": b.add, "and": b.and_, "or": b.or_, "xor": b.xor}[operation](old, value)


def _updated_floats(t: Translator, m: Modifiers, space: str, address: Value, old: Value, value: Value) -> Value:
    kind = m.type
    if kind.bits == 16 or kind.name.endswith("x2"):
        packed = t.from_bits(old, kind), t.from_bits(value, kind)
        return t.to_bits(by_elements(t, kind, lambda x, y: _updated_half(t, m, x, y), *packed), kind)
    x, y = t.from_bits(old, kind), t.from_bits(value, kind)
    exact = canonical(t, t.b.fadd(x, y))
    if x.type is not F32 or space == "shared":
        return t.to_bits(exact, kind)
    # In global memory add.f32 flushes subnormals, in shared memory it does not (PTX ISA, `atom`).
    flushed = flush(t, canonical(t, t.b.fadd(flush(t, x), flush(t, y))))
    if space == "generic":
        window = t.b.lshr(address, constant(I64, int(WINDOW_SHIFT)))
        is_shared = t.b.icmp_unsigned("==", window, constant(I64, SHARED_WINDOW >> int(WINDOW_SHIFT)))
        flushed = t.b.select(is_shared, exact, flushed)
    return t.to_bits(flushed, kind)


def _updated_half(t: Translator, m: Modifiers, x: Value, y: Value) -> Value:
    if m["operation"] == "add":
        return add_to_odd(t.b, x, y)
    return extremum(t, x, y, "<" if m["operation"] == "min" else ">", propagates=False)


def _atomic(t: Translator, m: Modifiers) -> None:
    operands = list(t.operands())
    destination = operands.pop(0) if t.operation.instruction.opcode == "atom" else None
    place = operands.pop(0)
    kind, space = bits_type(m.type), space_of(m)
    word = ir.IntType(kind.bits)
    values = [
        [t.read(element, kind) for element in _elements(operand)]
        for operand in operands[: 2 if m["operation"] == "cas" else 1]
    ]
    elements = list(zip(*values, strict=True))
    address = t.address(place)
    access = Access(t, EventKind.ATOMIC, space, _ORDERS[m["order"] or "relaxed"], kind.bits // 8, len(elements))

    def update(host: Value) -> tuple[list[Value], list[Value]]:
        before, after = [], []
        for position, operands in enumerate(elements):
            at = t.b.gep(host, [constant(I64, position)], source_etype=word)
            before.append(t.b.load(at, typ=word, align=1))
            after.append(_updated(t, m, space, address, before[-1], list(operands)))
            t.b.store(after[-1], at, align=1)
        return after, before

    before = access.perform(address, update)
    if destination is not None:
        for part, value in zip(_elements(destination), before, strict=True):
            t.write(part, kind, value)


for _words in (_ATOM, _RED):
    for _operation in (
        "operation=add L2::cache_hint? type=u32|s32|u64|f32|f64",
        "operation=min|max L2::cache_hint? type=u32|s32|u64|s64",
        "operation=and|or|xor L2::cache_hint? type=b32|b64",
        "operation=inc|dec L2::cache_hint? type=u32",
        "operation=add noftz L2::cache_hint? type=f16|f16x2|bf16|bf16x2",
    ):
        emits(f"{_words} {_COMMON} {_operation}")(_atomic)
    for _operation in (
        "operation=add L2::cache_hint? vector=v2|v4 type=f32",
        "operation=add|min|max noftz L2::cache_hint? vector=v2|v4|v8 type=f16|bf16|f16x2|bf16x2",
    ):
        emits(f"{_words} space=global? {_operation}")(_atomic)
emits(f"{_ATOM} {_COMMON} operation=exch L2::cache_hint? type=b32|b64|u32|s32|u64|f32")(_atomic)
emits(f"{_ATOM} {_COMMON} operation=cas L2::cache_hint? type=b16|b32|b64|u32|s32|u64")(_atomic)


@emits("prefetch space=global|local? level=L1|L2")
@emits("prefetch global level=L2::evict_last|L2::evict_normal")
@emits("prefetchu L1")
@emits("applypriority global? L2::evict_normal")
@emits("discard global? L2")
def _(t: Translator, m: Modifiers) -> None:
    """Caches are not modelled."""


_PRIORITIES = (
    "primary=L2::evict_last|L2::evict_normal|L2::evict_first|L2::evict_unchanged "
    "secondary=L2::evict_first|L2::evict_unchanged? b64"
)


@emits(f"createpolicy fractional {_PRIORITIES}")
@emits(f"createpolicy range global? {_PRIORITIES}")
@emits("createpolicy cvt L2 b64")
def _(t: Translator, m: Modifiers) -> None:
    """A cache policy is opaque; here it is always 0."""
    t.write(t.operands()[0], TYPES["b64"], constant(I64, 0))
