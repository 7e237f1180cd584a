"""What each instruction means: a table from the forms of an instruction to functions on arrays.

An entry is a form and a function. The form is the instruction's syntax: an opcode, then its modifiers.

    word             this modifier
    a|b|c            one of these
    name=a|b|c       one of these, found as m["name"]
    …?               or nothing

The signature gives the types of the operands, the destination before the equals sign: `T` is `type=`, `S`
is `source=`, `R` is `result=`, `W` is the type of twice the width of T, anything else a type by name; `p|q`
is one destination or two. The function takes the modifiers and returns the function that is executed, on one
array for each operand. Whatever matches no form is refused.

Semantics: PTX ISA chapter 9.7.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softgpu import arithmetic as ar
from softgpu.errors import PTXSyntaxError, UnsupportedPTX
from softgpu.machine import SPECIAL_REGISTERS, WARP_SIZE, Chunk, Lanes, lane_count, lane_indices
from softgpu.memory import LOCAL_WINDOW, PARAMETER_WINDOW, SHARED_WINDOW, WINDOW_SHIFT
from softgpu.program import Barrier, Branch, Execute, Exit, Operation, Program, Read, Trap
from softgpu.ptx import (
    TYPE_BITS,
    Address,
    Immediate,
    Instruction,
    Operand,
    Pair,
    Register,
    Sink,
    SpecialRegister,
    Symbol,
    Vector,
)

Write = Callable[[Chunk, Lanes, NDArray], None]
Compute = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Type:
    """A PTX type and the NumPy type that stands for it."""

    name: str
    bits: int
    dtype: np.dtype

    @property
    def is_float(self) -> bool:
        return self.dtype.kind == "f"


def _type(name: str) -> Type:
    bits = TYPE_BITS[name]
    if name == "pred":
        dtype = "?"
    elif name in ("f16", "f32", "f64"):
        dtype = f"f{bits // 8}"
    else:
        dtype = f"{'i' if name[0] == 's' else 'u'}{bits // 8}"
    return Type(name, bits, np.dtype(dtype))


TYPES = {name: _type(name) for name, bits in TYPE_BITS.items() if bits <= 64}


class Modifiers:
    """The modifiers of one instruction, by the names its form gives them."""

    def __init__(self, found: dict[str, str]):
        self._found = found

    def __getitem__(self, name: str) -> str | None:
        return self._found.get(name)

    @property
    def type(self) -> Type:
        return TYPES[self._found["type"]]

    @property
    def source(self) -> Type:
        return TYPES[self._found["source"]]

    @property
    def result(self) -> Type:
        return TYPES[self._found["result"]]


# Forms

Decode = Callable[["Decoder", Modifiers], Execute | None]


@dataclass(frozen=True, slots=True)
class Form:
    """One row of the table. `text` is the form as written; `decode` makes an instruction of it executable."""

    text: str
    slots: tuple[tuple[str, tuple[str, ...], bool], ...]
    decode: Decode

    def match(self, modifiers: Sequence[str]) -> Modifiers | None:
        found = {}
        position = 0
        for name, choices, optional in self.slots:
            if position < len(modifiers) and modifiers[position] in choices:
                found[name] = modifiers[position]
                position += 1
            elif not optional:
                return None
        return Modifiers(found) if position == len(modifiers) else None


FORMS: dict[str, list[Form]] = {}
"""Opcode -> its forms, tried in order."""


def instruction(form: str) -> Callable[[Decode], Decode]:
    """Enter an instruction that decodes its operands itself."""
    opcode, *words = form.split()
    slots = []
    for word in words:
        optional = word.endswith("?")
        name, _, choices = word.rstrip("?").rpartition("=")
        alternatives = tuple(choices.split("|"))
        slots.append((name or alternatives[0], alternatives, optional))

    def enter(decode: Decode) -> Decode:
        FORMS.setdefault(opcode, []).append(Form(form, tuple(slots), decode))
        return decode

    return enter


def computes(form: str, signature: str) -> Callable[[Callable[[Modifiers], Compute]], Callable]:
    """Enter an instruction that computes its destinations from its sources, each lane for itself."""
    destination_part, *source_part = signature.replace("=", " ").split()

    def enter(function: Callable[[Modifiers], Compute]) -> Callable:
        def decode(decoder: Decoder, m: Modifiers) -> Execute:
            destination, *sources = decoder.operands(1 + len(source_part))
            return decoder.compute(function(m), destination, destination_part, sources, source_part, m)

        instruction(form)(decode)
        return function

    return enter


# Decoding


class Decoder:
    """Decodes one instruction of a kernel."""

    def __init__(self, program: Program, instruction: Instruction):
        self.program = program
        self.instruction = instruction
        self.operation = Operation(instruction)

    def decode(self) -> Operation:
        instruction = self.instruction
        for form in FORMS.get(instruction.opcode, ()):
            modifiers = form.match(instruction.modifiers)
            if modifiers is not None:
                break
        else:
            raise self.unsupported()
        if instruction.guard is not None:
            self.operation.guard = self.read(instruction.guard, TYPES["pred"])
        self.operation.execute = form.decode(self, modifiers)
        return self.operation

    def unsupported(self, reason: str = "") -> UnsupportedPTX:
        return UnsupportedPTX(self.instruction.text, self.instruction.line, reason)

    def invalid(self, message: str) -> PTXSyntaxError:
        return PTXSyntaxError(f"`{self.instruction.text}`: {message}", self.instruction.line)

    def operands(self, *counts: int) -> tuple[Operand, ...]:
        """The operands, of which there must be one of these numbers."""
        operands = self.instruction.operands
        if len(operands) not in counts:
            expected = " or ".join(map(str, counts))
            raise self.invalid(f"expected {expected} operands, found {len(operands)}")
        return operands

    def compute(
        self,
        function: Compute,
        destination: Operand,
        destination_kind: str,
        sources: Sequence[Operand],
        source_kinds: Sequence[str],
        m: Modifiers,
    ) -> Execute:
        """Read the sources, apply `function`, write the destination. The kinds are those of a signature."""
        reads = [
            self.read(operand, self._signature_type(kind, m))
            for operand, kind in zip(sources, source_kinds, strict=True)
        ]
        if destination_kind == "p|q":
            return self._compute_pair(function, destination, reads)
        write = self.write(destination, self._signature_type(destination_kind, m))

        def execute(chunk: Chunk, lanes: Lanes) -> None:
            write(chunk, lanes, function(*[read(chunk, lanes) for read in reads]))

        return execute

    def _compute_pair(self, function: Compute, operand: Operand, reads: list[Read]) -> Execute:
        """A comparison writes p, and q if it is there; `function` returns both."""
        pair = operand if isinstance(operand, Pair) else Pair(operand, Sink())
        write_p, write_q = (self.write(part, TYPES["pred"]) for part in (pair.first, pair.second))

        def execute(chunk: Chunk, lanes: Lanes) -> None:
            p, q = function(*[read(chunk, lanes) for read in reads])
            write_p(chunk, lanes, p)
            write_q(chunk, lanes, q)

        return execute

    @staticmethod
    def _signature_type(kind: str, m: Modifiers) -> Type:
        if kind == "W":
            return TYPES[f"{m.type.name[0]}{m.type.bits * 2}"]
        named = {"T": "type", "S": "source", "R": "result"}.get(kind)
        return TYPES[m[named] or ""] if named else TYPES[kind]

    # Sources

    def read(self, operand: Operand, kind: Type, widths_may_differ: bool = False) -> Read:
        """A function that gives the operand's value as `kind`.

        Only ld, st and cvt let a register be wider than the type (PTX ISA 9.4.1); its low bits are used.
        """
        if isinstance(operand, Register):
            return self._read_register(operand, kind, widths_may_differ)
        if isinstance(operand, Immediate):
            constant = self._constant(operand, kind)
            return lambda chunk, lanes: constant
        if isinstance(operand, SpecialRegister):
            return self._read_special(operand, kind)
        if isinstance(operand, Symbol) and not kind.is_float and kind.bits >= 32:
            address = self.address_of(operand)
            return lambda chunk, lanes: address(chunk, lanes).astype(kind.dtype)
        raise self.invalid("an operand has the wrong form")

    def _read_register(self, register: Register, kind: Type, widths_may_differ: bool) -> Read:
        self.operation.sources.append(register)
        slot, stored = self._slot(register, kind, widths_may_differ)
        if register.negated:
            return lambda chunk, lanes: ~chunk.values[slot][lanes]
        if stored.bits == kind.bits:
            return lambda chunk, lanes: chunk.values[slot][lanes]
        low = np.dtype(f"u{kind.bits // 8}")
        return lambda chunk, lanes: chunk.values[slot][lanes].astype(low).view(kind.dtype)

    def _slot(self, register: Register, kind: Type, widths_may_differ: bool) -> tuple[int, Type]:
        """The register's slot, and the type it is seen as: `kind`, or one of its own width if it is wider."""
        if register.type not in TYPES:
            raise self.unsupported(f"{register.type} registers")
        own = TYPES[register.type]
        storage = np.dtype(bool) if own.bits == 1 else np.dtype(f"u{own.bits // 8}")
        if (own.is_float and kind.name[0] in "us") or (kind.is_float and own.name[0] in "us"):
            raise self._mismatch(register, kind)
        if own.bits == kind.bits:
            return self.program.slot(register, storage.str, kind.dtype.str), kind
        if own.bits < kind.bits or kind.bits == 1 or not widths_may_differ or kind.is_float:
            raise self._mismatch(register, kind)
        wide = TYPES[f"{'s' if kind.dtype.kind == 'i' else 'u'}{own.bits}"]
        return self.program.slot(register, storage.str, wide.dtype.str), wide

    def _mismatch(self, register: Register, kind: Type) -> PTXSyntaxError:
        name = register.name.partition("@")[0]
        return self.invalid(f"register {name} is {register.type}, but the instruction needs {kind.name}")

    def _constant(self, immediate: Immediate, kind: Type) -> NDArray:
        value = immediate.value
        if kind.name == "pred":
            return np.array([bool(value)])
        if kind.is_float:
            if isinstance(value, int) and kind.bits > 16:
                raise self.invalid(f"an integer constant where {kind.name} is needed")
            if isinstance(value, int):
                return np.array([value & 0xFFFF], np.uint16).view(kind.dtype)
            if immediate.type == kind.name:
                return np.array([immediate.bits], f"u{kind.bits // 8}").view(kind.dtype)
            return np.array([value], np.float64).astype(kind.dtype)
        bits = immediate.bits if isinstance(value, float) else value
        fits = immediate.type is None or (kind.name[0] == "b" and TYPE_BITS[immediate.type] == kind.bits)
        if bits is None or not fits:
            raise self.invalid(f"this float constant does not fit where {kind.name} is needed")
        return np.array([bits & (1 << kind.bits) - 1], f"u{kind.bits // 8}").view(kind.dtype)

    def _read_special(self, register: SpecialRegister, kind: Type) -> Read:
        name = register.name
        if name not in SPECIAL_REGISTERS:
            raise self.unsupported(f"special register %{name}")

        def read(chunk: Chunk, lanes: Lanes) -> NDArray:
            value = chunk.special(name)
            return (value if len(value) == 1 else value[lanes]).astype(kind.dtype)

        return read

    def address_of(self, symbol: Symbol) -> Read:
        """The address of a variable within its state space."""
        program, name, offset = self.program, symbol.name, symbol.offset
        for offsets in (program.parameter_offsets, program.shared_offsets, program.local_offsets):
            if name in offsets:
                address = np.array([offsets[name] + offset], np.int64).astype(np.uint64)
                return lambda chunk, lanes: address
        if program.variable(name) is None:
            raise self.invalid(f"'{name}' is not declared")
        return lambda chunk, lanes: np.array([chunk.launch.symbols[name] + offset], np.uint64)

    def address(self, operand: Operand) -> Read:
        """The address that a memory operand names, as uint64."""
        if not isinstance(operand, Address):
            raise self.invalid("expected an address in brackets")
        if isinstance(operand.base, Symbol):
            return self.address_of(Symbol(operand.base.name, operand.base.offset + operand.offset))
        if operand.base is None:
            absolute = np.array([operand.offset & (1 << 64) - 1], np.uint64)
            return lambda chunk, lanes: absolute
        bits = 32 if TYPE_BITS[operand.base.type] == 32 else 64
        base = self.read(operand.base, TYPES[f"u{bits}"])
        if operand.offset == 0:
            return lambda chunk, lanes: base(chunk, lanes).astype(np.uint64, copy=False)
        # The sum has the width of the register and wraps around: compilers count down from negative numbers.
        offset = np.array([operand.offset & (1 << bits) - 1], f"u{bits // 8}")
        return lambda chunk, lanes: (base(chunk, lanes) + offset).astype(np.uint64, copy=False)

    # Destinations

    def write(self, operand: Operand, kind: Type, widths_may_differ: bool = False) -> Write:
        """A function that sets the operand to a value of type `kind`, extended by sign if that is signed."""
        if isinstance(operand, Sink):
            return lambda chunk, lanes, value: None
        if not isinstance(operand, Register) or operand.negated:
            raise self.invalid("the destination must be a register")
        self.operation.destinations.append(operand)
        slot, _ = self._slot(operand, kind, widths_may_differ)

        def write(chunk: Chunk, lanes: Lanes, value: NDArray) -> None:
            chunk.values[slot][lanes] = value

        return write

    def elements(self, operand: Operand, count: int) -> tuple[Operand, ...]:
        """The elements of a vector operand of that size; a plain operand is its own only element."""
        if count == 1 and not isinstance(operand, Vector):
            return (operand,)
        if isinstance(operand, Vector) and len(operand.elements) == count:
            return operand.elements
        raise self.invalid(f"expected {count} elements in braces")


# Integer arithmetic

INTEGERS = "u16|s16|u32|s32|u64|s64"


@computes(f"add type={INTEGERS}", "T = T T")
def _(m: Modifiers) -> Compute:
    return np.add


@computes("add sat type=s32", "T = T T")
def _(m: Modifiers) -> Compute:
    return lambda a, b: ar.saturate_integer(a.astype(np.int64) + b, np.dtype(np.int32))


@computes(f"sub type={INTEGERS}", "T = T T")
def _(m: Modifiers) -> Compute:
    return np.subtract


@computes("sub sat type=s32", "T = T T")
def _(m: Modifiers) -> Compute:
    return lambda a, b: ar.saturate_integer(a.astype(np.int64) - b, np.dtype(np.int32))


@computes(f"mul lo type={INTEGERS}", "T = T T")
def _(m: Modifiers) -> Compute:
    return np.multiply


@computes(f"mul hi type={INTEGERS}", "T = T T")
def _(m: Modifiers) -> Compute:
    return ar.multiply_high


def _multiply_wide(a: NDArray, b: NDArray) -> NDArray:
    wide = f"{a.dtype.kind}{a.dtype.itemsize * 2}"
    return a.astype(wide) * b.astype(wide)


@computes("mul wide type=u16|s16|u32|s32", "W = T T")
def _(m: Modifiers) -> Compute:
    return _multiply_wide


@computes(f"mad lo type={INTEGERS}", "T = T T T")
def _(m: Modifiers) -> Compute:
    return lambda a, b, c: a * b + c


@computes(f"mad hi type={INTEGERS}", "T = T T T")
def _(m: Modifiers) -> Compute:
    return lambda a, b, c: ar.multiply_high(a, b) + c


@computes("mad wide type=u16|s16|u32|s32", "W = T T W")
def _(m: Modifiers) -> Compute:
    return lambda a, b, c: _multiply_wide(a, b) + c


@computes(f"sad type={INTEGERS}", "T = T T T")
def _(m: Modifiers) -> Compute:
    return lambda a, b, c: c + np.where(a < b, b - a, a - b)


@computes(f"div type={INTEGERS}", "T = T T")
def _(m: Modifiers) -> Compute:
    return ar.divide


@computes(f"rem type={INTEGERS}", "T = T T")
def _(m: Modifiers) -> Compute:
    return ar.remainder


@computes("abs type=s16|s32|s64", "T = T")
def _(m: Modifiers) -> Compute:
    return np.abs


@computes("neg type=s16|s32|s64", "T = T")
def _(m: Modifiers) -> Compute:
    return np.negative


@computes(f"min type={INTEGERS}", "T = T T")
def _(m: Modifiers) -> Compute:
    return np.minimum


@computes(f"max type={INTEGERS}", "T = T T")
def _(m: Modifiers) -> Compute:
    return np.maximum


# Bits


@computes("and type=pred|b16|b32|b64", "T = T T")
def _(m: Modifiers) -> Compute:
    return np.bitwise_and


@computes("or type=pred|b16|b32|b64", "T = T T")
def _(m: Modifiers) -> Compute:
    return np.bitwise_or


@computes("xor type=pred|b16|b32|b64", "T = T T")
def _(m: Modifiers) -> Compute:
    return np.bitwise_xor


@computes("not type=pred|b16|b32|b64", "T = T")
def _(m: Modifiers) -> Compute:
    return np.invert


@computes("cnot type=b16|b32|b64", "T = T")
def _(m: Modifiers) -> Compute:
    return lambda a: a == 0


@computes("shl type=b16|b32|b64", "T = T u32")
def _(m: Modifiers) -> Compute:
    return ar.shift_left


@computes("shr type=b16|b32|b64|u16|u32|u64|s16|s32|s64", "T = T u32")
def _(m: Modifiers) -> Compute:
    return ar.shift_right


@computes("bfe type=u32|s32|u64|s64", "T = T u32 u32")
def _(m: Modifiers) -> Compute:
    return ar.extract_field


@computes("bfi type=b32|b64", "T = T T u32 u32")
def _(m: Modifiers) -> Compute:
    return ar.insert_field


@computes("brev type=b32|b64", "T = T")
def _(m: Modifiers) -> Compute:
    return ar.reverse_bits


@computes("clz type=b32|b64", "u32 = T")
def _(m: Modifiers) -> Compute:
    return ar.count_leading_zeros


@computes("popc type=b32|b64", "u32 = T")
def _(m: Modifiers) -> Compute:
    return ar.population_count


@computes("bfind shiftamt? type=u32|s32|u64|s64", "u32 = T")
def _(m: Modifiers) -> Compute:
    if not m["shiftamt"]:
        return ar.find_top_bit
    last = np.uint32(m.type.bits - 1)

    def shift_amount(a: NDArray) -> NDArray:
        position = ar.find_top_bit(a)
        return np.where(position == np.uint32(0xFFFFFFFF), position, last - position)

    return shift_amount


@instruction("lop3 type=b32")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    destination, *sources, operand = decoder.operands(5)
    if not isinstance(operand, Immediate) or operand.value not in range(256):
        raise decoder.invalid("the table of lop3 must be a constant from 0 to 255")
    table = int(operand.value)
    return decoder.compute(lambda a, b, c: ar.logic3(a, b, c, table), destination, "T", sources, "TTT", m)


@computes("prmt type=b32 mode=f4e|b4e|rc8|ecl|ecr|rc16?", "T = T T T")
def _(m: Modifiers) -> Compute:
    return lambda a, b, selector: ar.permute_bytes(a, b, selector, m["mode"])


@computes("shf direction=l|r mode=wrap|clamp type=b32", "T = T T u32")
def _(m: Modifiers) -> Compute:
    left, clamp = m["direction"] == "l", m["mode"] == "clamp"
    return lambda low, high, amount: ar.funnel_shift(low, high, amount, left, clamp)


# Floating point

ROUNDING = "rounding=rn|rz|rm|rp"


def _floating(m: Modifiers, compute: Compute) -> Compute:
    """Apply the rounding mode, `.ftz` and `.sat`."""
    if m["rounding"] not in (None, "rn"):
        compute = ar.rounded(compute, str(m["rounding"]))
    return _flushed(m, compute)


def _flushed(m: Modifiers, compute: Compute) -> Compute:
    """Apply `.ftz` to sources and result, and `.sat`."""
    if m["ftz"] and m["sat"]:
        return lambda *x: ar.saturate(ar.flush(compute(*map(ar.flush, x))))
    if m["ftz"]:
        return lambda *x: ar.flush(compute(*map(ar.flush, x)))
    if m["sat"]:
        return lambda *x: ar.saturate(compute(*x))
    return compute


@computes(f"add {ROUNDING}? ftz? sat? type=f32", "T = T T")
@computes(f"add {ROUNDING}? type=f64", "T = T T")
@computes("add rounding=rn? sat? type=f16", "T = T T")
def _(m: Modifiers) -> Compute:
    return _floating(m, lambda a, b: a + b)


@computes(f"sub {ROUNDING}? ftz? sat? type=f32", "T = T T")
@computes(f"sub {ROUNDING}? type=f64", "T = T T")
@computes("sub rounding=rn? sat? type=f16", "T = T T")
def _(m: Modifiers) -> Compute:
    return _floating(m, lambda a, b: a - b)


@computes(f"mul {ROUNDING}? ftz? sat? type=f32", "T = T T")
@computes(f"mul {ROUNDING}? type=f64", "T = T T")
@computes("mul rounding=rn? sat? type=f16", "T = T T")
def _(m: Modifiers) -> Compute:
    return _floating(m, lambda a, b: a * b)


@computes(f"fma {ROUNDING} ftz? sat? type=f32", "T = T T T")
@computes(f"fma {ROUNDING} type=f64", "T = T T T")
@computes(f"mad {ROUNDING} ftz? sat? type=f32", "T = T T T")
@computes(f"mad {ROUNDING} type=f64", "T = T T T")
@computes("fma rounding=rn sat? type=f16", "T = T T T")
def _(m: Modifiers) -> Compute:
    if m["rounding"] != "rn":
        return _floating(m, lambda a, b, c: a * b + c)
    return _flushed(m, ar.fma64 if m.type.bits == 64 else ar.fma_narrow)


@computes(f"div {ROUNDING} ftz? type=f32", "T = T T")
@computes(f"div {ROUNDING} type=f64", "T = T T")
@computes("div full ftz? type=f32", "T = T T")
def _(m: Modifiers) -> Compute:
    return _floating(m, lambda a, b: a / b)


@computes("div approx ftz? type=f32", "T = T T")
def _(m: Modifiers) -> Compute:
    def divide(a: NDArray, b: NDArray) -> NDArray:
        # The reciprocal of so large a divisor is flushed to zero, and infinity times zero is NaN.
        huge = (np.abs(b) > 2.0**126) & np.isfinite(b)
        sign = np.sign(a) * np.sign(b)
        return np.where(huge, np.where(np.isfinite(a), np.copysign(np.float32(0), sign), np.float32(np.nan)), a / b)

    return _flushed(m, divide)


@computes("neg ftz? type=f32", "T = T")
@computes("neg type=f16|f64", "T = T")
def _(m: Modifiers) -> Compute:
    return _flushed(m, np.negative)


@computes("abs ftz? type=f32", "T = T")
@computes("abs type=f16|f64", "T = T")
def _(m: Modifiers) -> Compute:
    return _flushed(m, np.abs)


@computes("min ftz? NaN? type=f32", "T = T T")
@computes("min NaN? type=f16|f64", "T = T T")
def _(m: Modifiers) -> Compute:
    return _flushed(m, lambda a, b: ar.float_min(a, b, bool(m["NaN"])))


@computes("max ftz? NaN? type=f32", "T = T T")
@computes("max NaN? type=f16|f64", "T = T T")
def _(m: Modifiers) -> Compute:
    return _flushed(m, lambda a, b: ar.float_max(a, b, bool(m["NaN"])))


@computes("copysign type=f32|f64", "T = T T")
def _(m: Modifiers) -> Compute:
    return lambda sign, value: np.copysign(value, sign)


@computes(f"rcp {ROUNDING} ftz? type=f32", "T = T")
@computes(f"rcp {ROUNDING} type=f64", "T = T")
@computes("rcp approx ftz? type=f32", "T = T")
def _(m: Modifiers) -> Compute:
    return _floating(m, lambda a: 1 / a)


@computes("sqrt rn ftz? type=f32", "T = T")
@computes("sqrt rn type=f64", "T = T")
@computes("sqrt approx ftz? type=f32", "T = T")
def _(m: Modifiers) -> Compute:
    return _flushed(m, np.sqrt)


def _approximate(function: Compute) -> Callable[[Modifiers], Compute]:
    """An approximate instruction: computed in float64 and rounded once, well inside its tolerance."""
    return lambda m: _flushed(m, lambda a: function(a.astype(np.float64)).astype(a.dtype))


_APPROXIMATIONS: dict[str, Compute] = {
    "rsqrt approx ftz? type=f32": lambda a: 1 / np.sqrt(a),
    "rsqrt approx type=f64": lambda a: 1 / np.sqrt(a),
    "sin approx ftz? type=f32": np.sin,
    "cos approx ftz? type=f32": np.cos,
    "lg2 approx ftz? type=f32": np.log2,
    "ex2 approx ftz? type=f32": np.exp2,
    "tanh approx type=f32": np.tanh,
}
for _form, _function in _APPROXIMATIONS.items():
    computes(_form, "T = T")(_approximate(_function))


@computes("testp test=finite|infinite|number|notanumber|normal|subnormal type=f32|f64", "pred = T")
def _(m: Modifiers) -> Compute:
    tiny = np.finfo(m.type.dtype).tiny
    tests: dict[str, Compute] = {
        "finite": np.isfinite,
        "infinite": np.isinf,
        "number": lambda a: ~np.isnan(a),
        "notanumber": np.isnan,
        "normal": lambda a: np.isfinite(a) & (np.abs(a) >= tiny),
        "subnormal": lambda a: (a != 0) & (np.abs(a) < tiny),
    }
    return tests[str(m["test"])]


# Comparison and selection


def _unordered(compare: Compute) -> Compute:
    return lambda a, b: compare(a, b) | np.isnan(a) | np.isnan(b)


COMPARISONS: dict[str, Compute] = {
    "eq": np.equal,
    # Ordered: false if an operand is NaN. NumPy's != is true then.
    "ne": lambda a, b: (a < b) | (a > b),
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "lo": np.less,
    "ls": np.less_equal,
    "hi": np.greater,
    "hs": np.greater_equal,
    "equ": _unordered(np.equal),
    "neu": np.not_equal,
    "ltu": _unordered(np.less),
    "leu": _unordered(np.less_equal),
    "gtu": _unordered(np.greater),
    "geu": _unordered(np.greater_equal),
    "num": lambda a, b: ~(np.isnan(a) | np.isnan(b)),
    "nan": lambda a, b: np.isnan(a) | np.isnan(b),
}
COMBINATIONS: dict[str, Compute] = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}

_FLOAT_COMPARISONS = "compare=eq|ne|lt|le|gt|ge|equ|neu|ltu|leu|gtu|geu|num|nan"
_COMPARED = (
    ("compare=eq|ne", "", "type=b16|b32|b64"),
    ("compare=eq|ne|lt|le|gt|ge|lo|ls|hi|hs", "", "type=u16|u32|u64"),
    ("compare=eq|ne|lt|le|gt|ge", "", "type=s16|s32|s64"),
    (_FLOAT_COMPARISONS, "ftz?", "type=f32"),
    (_FLOAT_COMPARISONS, "", "type=f16|f64"),
)
"""Comparisons, `.ftz`, and the types they are for."""


def _comparison(m: Modifiers) -> Compute:
    compare = COMPARISONS[str(m["compare"])]
    return (lambda a, b: compare(ar.flush(a), ar.flush(b))) if m["ftz"] else compare


def _set_predicates(m: Modifiers) -> Compute:
    compare = _comparison(m)

    def execute(a: NDArray, b: NDArray) -> tuple[NDArray, NDArray]:
        result = compare(a, b)
        return result, ~result

    return execute


def _set_combined_predicates(m: Modifiers) -> Compute:
    compare, combine = _comparison(m), COMBINATIONS[str(m["combine"])]

    def execute(a: NDArray, b: NDArray, c: NDArray) -> tuple[NDArray, NDArray]:
        result = compare(a, b)
        return combine(result, c), combine(~result, c)

    return execute


def _set_value(m: Modifiers) -> Compute:
    compare = _comparison(m)
    result = m.result.dtype.type
    yes = result(1) if m.result.is_float else ~result(0)
    return lambda a, b: np.where(compare(a, b), yes, result(0))


for _compare, _ftz, _operand_types in _COMPARED:
    _rest = f"{_ftz} {_operand_types}"
    computes(f"setp {_compare} {_rest}", "p|q = T T")(_set_predicates)
    computes(f"setp {_compare} combine=and|or|xor {_rest}", "p|q = T T pred")(_set_combined_predicates)
    computes(f"set {_compare} {_ftz} result=u32|s32|f32 {_operand_types}", "R = T T")(_set_value)


@computes("selp type=b16|b32|b64|u16|u32|u64|s16|s32|s64|f32|f64", "T = T T pred")
def _(m: Modifiers) -> Compute:
    return lambda a, b, p: np.where(p, a, b)


@computes("slct type=b16|b32|b64|u16|u32|u64|s16|s32|s64|f32|f64 s32", "T = T T s32")
def _(m: Modifiers) -> Compute:
    return lambda a, b, c: np.where(c >= 0, a, b)


@computes("slct ftz? type=b16|b32|b64|u16|u32|u64|s16|s32|s64|f32|f64 f32", "T = T T f32")
def _(m: Modifiers) -> Compute:
    return lambda a, b, c: np.where((ar.flush(c) if m["ftz"] else c) >= 0, a, b)


# Movement and conversion

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


CONVERTED_INTEGERS = "u8|s8|u16|s16|u32|s32|u64|s64"


def _conversion(form: str) -> Callable[[Callable[[Modifiers], Compute]], Callable]:
    """Enter a form of cvt, whose registers may be wider than its types."""

    def enter(function: Callable[[Modifiers], Compute]) -> Callable:
        def decode(decoder: Decoder, m: Modifiers) -> Execute:
            destination, source = decoder.operands(2)
            convert = function(m)
            read = decoder.read(source, m.source, widths_may_differ=True)
            write = decoder.write(destination, m.type, widths_may_differ=True)
            return lambda chunk, lanes: write(chunk, lanes, convert(read(chunk, lanes)))

        instruction(form)(decode)
        return function

    return enter


@_conversion(f"cvt sat? type={CONVERTED_INTEGERS} source={CONVERTED_INTEGERS}")
def _(m: Modifiers) -> Compute:
    dtype = m.type.dtype
    return (lambda a: ar.saturate_integer(a, dtype)) if m["sat"] else (lambda a: a.astype(dtype))


@_conversion(f"cvt {ROUNDING} sat? type=f16|f32|f64 source={CONVERTED_INTEGERS}")
def _(m: Modifiers) -> Compute:
    return _saturated(m, lambda a: ar.integer_to_float(a, m.type.dtype, str(m["rounding"])))


@_conversion(f"cvt integral=rni|rzi|rmi|rpi ftz? sat? type={CONVERTED_INTEGERS} source=f16|f32|f64")
def _(m: Modifiers) -> Compute:
    return lambda a: ar.float_to_integer(_source(m, a), m.type.dtype, str(m["integral"]))


@_conversion("cvt ftz? sat? type=f32 source=f16")
@_conversion("cvt ftz? sat? type=f32 source=f32")
@_conversion("cvt ftz? sat? type=f64 source=f32")
@_conversion("cvt sat? type=f64 source=f16")
@_conversion("cvt sat? type=f64 source=f64")
@_conversion("cvt sat? type=f16 source=f16")
@_conversion(f"cvt {ROUNDING} ftz? sat? type=f32 source=f64")
@_conversion(f"cvt {ROUNDING} ftz? sat? type=f16 source=f32")
@_conversion(f"cvt {ROUNDING} sat? type=f16 source=f64")
def _(m: Modifiers) -> Compute:
    def convert(a: NDArray) -> NDArray:
        result = ar.float_to_float(_source(m, a), m.type.dtype, str(m["rounding"] or "rn"))
        return ar.flush(result) if m["ftz"] and m.type.bits == 32 else result

    return _saturated(m, convert)


@_conversion("cvt integral=rni|rzi|rmi|rpi ftz? sat? type=f32 source=f32")
@_conversion("cvt integral=rni|rzi|rmi|rpi sat? type=f64 source=f64")
@_conversion("cvt integral=rni|rzi|rmi|rpi sat? type=f16 source=f16")
def _(m: Modifiers) -> Compute:
    return _saturated(m, lambda a: ar.TO_INTEGRAL[str(m["integral"])](_source(m, a)))


@_conversion("cvt type=f32 source=bf16")
def _(m: Modifiers) -> Compute:
    return ar.bfloat_to_float


@_conversion("cvt rounding=rn|rz type=bf16 source=f32")
def _(m: Modifiers) -> Compute:
    return lambda a: ar.float_to_bfloat(a, str(m["rounding"]))


def _source(m: Modifiers, a: NDArray) -> NDArray:
    return ar.flush(a) if m["ftz"] and m.source.bits == 32 else a


def _saturated(m: Modifiers, compute: Compute) -> Compute:
    return (lambda a: ar.saturate(compute(a))) if m["sat"] else compute


@computes("cvt rounding=rn|rz f16x2 source=f32", "f16x2 = S S")
def _(m: Modifiers) -> Compute:
    half, mode = np.dtype(np.float16), str(m["rounding"])
    return lambda high, low: _join(*(ar.bits_of(ar.float_to_float(x, half, mode)) for x in (high, low)))


@computes("cvt rounding=rn|rz bf16x2 source=f32", "bf16x2 = S S")
def _(m: Modifiers) -> Compute:
    return lambda high, low: _join(*(ar.float_to_bfloat(x, str(m["rounding"])) for x in (high, low)))


def _join(high: NDArray, low: NDArray) -> NDArray:
    return high.astype(np.uint32) << np.uint32(16) | low


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


# Memory

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


# Control flow and synchronisation


@instruction("bra uni?")
def _(decoder: Decoder, m: Modifiers) -> None:
    (target,) = decoder.operands(1)
    assert isinstance(target, Symbol)
    decoder.operation.control = Branch(target.name)


@instruction("ret uni?")
@instruction("exit")
def _(decoder: Decoder, m: Modifiers) -> None:
    decoder.operands(0)
    decoder.operation.control = Exit()


@instruction("trap")
def _(decoder: Decoder, m: Modifiers) -> None:
    decoder.operands(0)
    decoder.operation.control = Trap()


def _barrier(decoder: Decoder, m: Modifiers) -> None:
    operands = decoder.operands(1, 2)
    if not m["sync"] and len(operands) == 1:
        raise decoder.invalid("an arrival needs a thread count")
    number = decoder.read(operands[0], TYPES["u32"])
    count = decoder.read(operands[1] if len(operands) == 2 else Immediate(0), TYPES["u32"])
    decoder.operation.control = Barrier(number, count, waits=bool(m["sync"]))


for _words in ("bar cta?", "barrier cta?"):
    _aligned = " aligned?" if _words.startswith("barrier") else ""
    instruction(f"{_words} sync{_aligned}")(_barrier)
    instruction(f"{_words} arrive{_aligned}")(_barrier)


def _nothing(decoder: Decoder, m: Modifiers) -> Execute:
    """Memory is always consistent here, and time does not pass."""
    return lambda chunk, lanes: None


instruction("membar level=cta|gl|sys")(_nothing)
instruction("fence order=sc|acq_rel|acquire|release? scope=cta|cluster|gpu|sys")(_nothing)
instruction("griddepcontrol action=launch_dependents|wait")(_nothing)
instruction("nanosleep u32")(_nothing)


def _for_warp(decoder: Decoder, membermask: Operand) -> None:
    """The instruction waits until all lanes of the mask have arrived at it."""
    if decoder.instruction.guard is not None:
        raise decoder.unsupported("a warp-level instruction under a predicate")
    mask = decoder.read(membermask, TYPES["u32"])
    decoder.operation.membermask = mask


@instruction("bar warp sync")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    (membermask,) = decoder.operands(1)
    _for_warp(decoder, membermask)
    return lambda chunk, lanes: None


@instruction("shfl sync mode=up|down|bfly|idx b32")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    destination, value, offset, limits, membermask = decoder.operands(5)
    pair = destination if isinstance(destination, Pair) else Pair(destination, Sink())
    _for_warp(decoder, membermask)
    word = TYPES["u32"]
    reads = [decoder.read(operand, word) for operand in (value, offset, limits)]
    write_value = decoder.write(pair.first, word)
    write_inside = decoder.write(pair.second, TYPES["pred"])
    mode = m["mode"]

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        values, offsets, limit = (
            np.broadcast_to(read(chunk, lanes), lane_count(lanes)).astype(np.int64) for read in reads
        )
        indices = lane_indices(lanes)
        lane = chunk.warp_slot[indices] % WARP_SIZE
        segment, clamp, offsets = limit >> 8 & 31, limit & 31, offsets & 31
        highest = (lane & segment) | (clamp & ~segment)
        lowest = lane & segment
        if mode == "up":
            source = lane - offsets
            inside = source >= highest
        else:
            source = {"down": lane + offsets, "bfly": lane ^ offsets, "idx": lowest | (offsets & ~segment)}[str(mode)]
            inside = source <= highest
        source = np.where(inside, source, lane)
        # Reading from a lane that takes no part is undefined; here it gives the reader's own value.
        of_warp = np.zeros(chunk.warp_count * WARP_SIZE, np.uint32)
        takes_part = np.zeros(chunk.warp_count * WARP_SIZE, bool)
        slots = chunk.warp_slot[indices]
        of_warp[slots] = values
        takes_part[slots] = True
        source_slots = slots - lane + source
        write_value(chunk, lanes, np.where(takes_part[source_slots], of_warp[source_slots], values))
        write_inside(chunk, lanes, inside)

    return execute


@instruction("vote sync mode=all|any|uni pred")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    def decide(votes: NDArray, members: NDArray) -> NDArray:
        if m["mode"] == "all":
            return votes == members
        if m["mode"] == "any":
            return votes != 0
        return (votes == members) | (votes == 0)

    return _vote(decoder, TYPES["pred"], decide)


@instruction("vote sync ballot b32")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    return _vote(decoder, TYPES["b32"], lambda votes, members: votes)


def _vote(decoder: Decoder, kind: Type, decide: Callable[[NDArray, NDArray], NDArray]) -> Execute:
    destination, predicate, membermask = decoder.operands(3)
    _for_warp(decoder, membermask)
    read, read_mask = decoder.read(predicate, TYPES["pred"]), decoder.read(membermask, TYPES["u32"])
    write = decoder.write(destination, kind)

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        warp, mask = chunk.warp[lanes], read_mask(chunk, lanes)
        votes = chunk.ballot(lanes, read(chunk, lanes))[warp] & mask
        members = chunk.ballot(lanes)[warp] & mask
        write(chunk, lanes, decide(votes, members))

    return execute


@instruction("activemask b32")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    (destination,) = decoder.operands(1)
    write = decoder.write(destination, TYPES["b32"])
    return lambda chunk, lanes: write(chunk, lanes, chunk.ballot(lanes)[chunk.warp[lanes]])
