"""Makes the instructions of a kernel executable: finds the form of each, and how to read and write its operands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from softgpu.errors import PTXSyntaxError, UnsupportedPTX
from softgpu.instructions.table import FORMS, TYPES, Compute, Form, Modifiers, Type
from softgpu.instructions.versions import first_target, first_version
from softgpu.machine import SPECIAL_REGISTERS, WIDE_REGISTERS, Chunk, Lanes
from softgpu.program import Execute, Operation, Program, Read, Write
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
    isa_version,
)

_HALF_REGISTERS = ("tid", "ntid", "ctaid", "nctaid")
"""What had 16 bits in the first versions of PTX."""

_WITHOUT_CONSTANTS = ("f16", "f16x2", "bf16", "bf16x2", "u16x2", "s16x2")


def _agree(own: Type, kind: Type) -> bool:
    """Whether a register of the type `own` may hold a value of type `kind`, if it is wide enough (PTX ISA 9.4)."""
    if kind.is_untyped or own.is_untyped:
        return own.name != "pred" and kind.name != "pred"
    return own.name == kind.name or (own.is_integer and kind.is_integer)


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
        self._check_age(form)
        self.operation.modifiers = modifiers
        if instruction.guard is not None:
            self.operation.guard = self.read(instruction.guard, TYPES["pred"])
        self.operation.execute = form.decode(self, modifiers)
        return self.operation

    def _check_age(self, form: Form) -> None:
        """What is younger than the module's target or version is refused."""
        module, words = self.program.module, (self.instruction.opcode, *self.instruction.modifiers)
        target, version = max(form.since, first_target(words)), first_version(words)
        if target > module.architecture:
            raise self.unsupported(f"it needs the target sm_{target} or later")
        if isa_version(version) > module.isa:
            raise self.unsupported(f"it needs .version {version} or later, and this module has {module.version}")

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
        write_p, write_q = (self.write(part, TYPES["pred"], may_be_dropped=True) for part in (pair.first, pair.second))

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
        if isinstance(operand, Symbol):
            return self._read_symbol(operand, kind)
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
        if not _agree(own, kind) or own.bits < kind.bits or (own.bits > kind.bits and not widths_may_differ):
            raise self._mismatch(register, kind)
        if own.bits == kind.bits:
            return self.program.slot(register, storage.str, kind.dtype.str), kind
        wide = TYPES[f"{'s' if kind.dtype.kind == 'i' else 'u'}{own.bits}"]
        return self.program.slot(register, storage.str, wide.dtype.str), wide

    def _mismatch(self, register: Register, kind: Type) -> PTXSyntaxError:
        name = register.name.partition("@")[0]
        return self.invalid(f"register {name} is {register.type}, but the instruction needs {kind.name}")

    def check_constant(self, operand: Operand, low: int, high: int, multiple: int = 1) -> None:
        """Refuse a constant that is not from `low` to `high`, or no such multiple. Registers may hold anything."""
        if isinstance(operand, Immediate) and not (low <= operand.value <= high and operand.value % multiple == 0):
            expected = f"from {low} to {high}" + f", and a multiple of {multiple}" * (multiple > 1)
            raise self.invalid(f"the constant {operand.value} is not {expected}")

    def _constant(self, immediate: Immediate, kind: Type) -> NDArray:
        value = immediate.value
        if kind.name in _WITHOUT_CONSTANTS:
            raise self.invalid(f"{kind.name} has no constants: the value must be in a register")
        if kind.name == "pred" and isinstance(value, int):
            return np.array([bool(value)])
        if kind.is_float:
            if isinstance(value, int):
                raise self.invalid(f"an integer constant where {kind.name} is needed")
            if immediate.type == kind.name:
                return np.array([immediate.bits], f"u{kind.bits // 8}").view(kind.dtype)
            with np.errstate(over="ignore"):
                return np.array([value], np.float64).astype(kind.dtype)
        bits = immediate.bits if isinstance(value, float) else value
        fits = immediate.type is None or (kind.is_untyped and TYPE_BITS[immediate.type] == kind.bits)
        if bits is None or not fits:
            raise self.invalid(f"this float constant does not fit where {kind.name} is needed")
        return np.array([bits & (1 << kind.bits) - 1], f"u{kind.bits // 8}").view(kind.dtype)

    def _read_special(self, register: SpecialRegister, kind: Type) -> Read:
        """PTX ISA chapter 10: registers of 32 bits, of 64 or a predicate; some may be read in part, as of old."""
        name, opcode = register.name, self.instruction.opcode
        if opcode != "mov" and (opcode != "cvt" or any(kind[0] not in "us" for kind in self.instruction.types)):
            raise self.invalid(f"%{name} can be read by mov and cvt alone, and only by a cvt between integers")
        if name not in SPECIAL_REGISTERS:
            raise self.unsupported(f"special register %{name}")
        if "cluster" in name and self.program.module.architecture < 90:
            raise self.unsupported(f"%{name} needs the target sm_90 or later")
        if name == "is_explicit_cluster":
            fits = kind.name == "pred"
        elif name in WIDE_REGISTERS:
            fits = kind.bits == 64 or (name == "gridid" and kind.bits == 32)
        else:
            fits = kind.bits == 32 or (kind.bits == 16 and name.rpartition(".")[0] in _HALF_REGISTERS)
        if not fits or kind.is_float:
            raise self.invalid(f"%{name} cannot be read as {kind.name}")

        def read(chunk: Chunk, lanes: Lanes) -> NDArray:
            value = chunk.special(name)
            return (value if len(value) == 1 else value[lanes]).astype(kind.dtype)

        return read

    def _read_symbol(self, symbol: Symbol, kind: Type) -> Read:
        """The name of a variable stands for its address: in mov, and in cvta from the space it is in."""
        address, opcode, m = self.address_of(symbol), self.instruction.opcode, self.operation.modifiers
        if m is None or opcode not in ("mov", "cvta") or m["to"] or m["size"]:
            raise self.invalid(f"{symbol.name} must be in a register: only mov and cvta take the name of a variable")
        if opcode == "cvta":
            self.in_space(symbol, str(m["space"]).partition("::")[0])
        if kind.is_float or kind.bits < 32:
            raise self.invalid(f"the address of {symbol.name} does not fit where {kind.name} is needed")
        return lambda chunk, lanes: address(chunk, lanes).astype(kind.dtype)

    def in_space(self, symbol: Symbol, space: str) -> Symbol:
        """What stands for a variable where a space is accessed."""
        accessed = self.program.accessed_as(symbol, space)
        if accessed is None:
            raise self.invalid(f"{symbol.name} is in .{self.program.space_of(symbol.name)}, not in .{space}")
        return accessed

    def address_of(self, symbol: Symbol) -> Read:
        """The address of a variable within its state space."""
        program, name, offset = self.program, symbol.name, symbol.offset
        for offsets in (program.parameter_offsets, program.shared_offsets, program.local_offsets):
            if name in offsets:
                address = np.array([(offsets[name] + offset) & (1 << 64) - 1], np.uint64)
                return lambda chunk, lanes: address
        variable = program.variable(name)
        if variable is None:
            raise self.invalid(f"'{name}' is not declared")
        if variable.is_extern:
            raise self.unsupported(f"{name} is a variable of another module")
        return lambda chunk, lanes: np.array([(chunk.launch.symbols[name] + offset) & (1 << 64) - 1], np.uint64)

    def address(self, operand: Operand, space: str) -> Read:
        """The address that a memory operand names, as uint64.

        A variable that is named must be in the `space` that is accessed; "generic" is where all are.
        """
        if not isinstance(operand, Address) or operand.coordinates is not None:
            raise self.invalid("expected an address in brackets")
        if isinstance(operand.base, Symbol):
            symbol = Symbol(operand.base.name, operand.base.offset + operand.offset)
            return self.address_of(self.in_space(symbol, space))
        if operand.base is None:
            if space != "local":
                raise self.invalid("only addresses in .local may be constants")
            absolute = np.array([operand.offset & (1 << 64) - 1], np.uint64)
            return lambda chunk, lanes: absolute
        bits = 32 if TYPE_BITS[operand.base.type] == 32 else 64
        if bits == 32 and space in ("global", "generic") and self.program.module.architecture >= 90:
            raise self.invalid(f"a {space} address must be in a register of 64 bits")
        base = self.read(operand.base, TYPES[f"u{bits}"])
        if operand.offset == 0:
            return lambda chunk, lanes: base(chunk, lanes).astype(np.uint64, copy=False)
        # The sum has the width of the register and wraps around: compilers count down from negative numbers.
        offset = np.array([operand.offset & (1 << bits) - 1], f"u{bits // 8}")
        return lambda chunk, lanes: (base(chunk, lanes) + offset).astype(np.uint64, copy=False)

    # Destinations

    def write(
        self, operand: Operand, kind: Type, widths_may_differ: bool = False, may_be_dropped: bool = False
    ) -> Write:
        """A function that sets the operand to a value of type `kind`, extended by sign if that is signed."""
        if isinstance(operand, Sink) and may_be_dropped:
            return lambda chunk, lanes, value: None
        if not isinstance(operand, Register) or operand.negated:
            raise self.invalid("the destination must be a register")
        self.operation.destinations.append(operand)
        slot, stored = self._slot(operand, kind, widths_may_differ)
        if kind.is_float and stored.bits > kind.bits:
            return self._write_bits(slot, kind)

        def write(chunk: Chunk, lanes: Lanes, value: NDArray) -> None:
            chunk.values[slot][lanes] = value

        return write

    @staticmethod
    def _write_bits(slot: int, kind: Type) -> Write:
        """A float to a wider register: its bits, and zeros above them."""

        def write(chunk: Chunk, lanes: Lanes, value: NDArray) -> None:
            chunk.values[slot][lanes] = value.view(f"u{kind.bits // 8}")

        return write

    def elements(self, operand: Operand, count: int) -> tuple[Operand, ...]:
        """The elements of a vector operand of that size; a plain operand is its own only element."""
        return (operand,) if count == 1 else self.vector(operand, count)

    def vector(self, operand: Operand, count: int) -> tuple[Operand, ...]:
        """The elements of a vector operand of that size, of which some may be dropped."""
        if not isinstance(operand, Vector) or len(operand.elements) != count:
            raise self.invalid(f"expected {count} element{'s' * (count > 1)} in braces")
        if all(isinstance(element, Sink) for element in operand.elements):
            raise self.invalid("a vector cannot be dropped whole")
        if len({TYPE_BITS[element.type] for element in operand.elements if isinstance(element, Register)}) > 1:
            raise self.invalid("the registers of a vector have different widths")
        return operand.elements
