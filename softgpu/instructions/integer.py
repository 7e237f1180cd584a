"""Integer arithmetic, and operations on bits (PTX ISA 9.7.1, 9.7.2 and 9.7.8)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from softgpu import arithmetic as ar
from softgpu.instructions.decoder import Decoder
from softgpu.instructions.table import TYPES, Compute, Modifiers, computes, instruction
from softgpu.machine import Chunk, Lanes
from softgpu.program import Execute
from softgpu.ptx import Immediate, Operand, Pair, Register, Sink

INTEGERS = "u16|s16|u32|s32|u64|s64"


def _by_halves(compute: Compute, m: Modifiers) -> Compute:
    """Apply a function on 16-bit integers to both halves of 32 bits."""
    half = np.dtype("i2" if m.type.name == "s16x2" else "u2")

    def execute(*packed: NDArray) -> NDArray:
        halves = [np.ascontiguousarray(x).view(half) for x in np.broadcast_arrays(*packed)]
        return compute(*halves).view(np.uint32)

    return execute


@computes(f"add type={INTEGERS}", "T = T T")
def _(m: Modifiers) -> Compute:
    return np.add


@computes("add type=u16x2|s16x2", "T = T T", since=90)
def _(m: Modifiers) -> Compute:
    return _by_halves(np.add, m)


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


@computes("mad hi sat type=s32", "T = T T T")
def _(m: Modifiers) -> Compute:
    return lambda a, b, c: ar.saturate_integer(ar.multiply_high(a, b) + c.astype(np.int64), np.dtype(np.int32))


def _product24(m: Modifiers) -> Compute:
    """The lower or upper 32 of the 48 bits of a product of 24 bits, as 64-bit integers."""
    unused, shift = np.uint32(8), np.int64(16 if m["part"] == "hi" else 0)
    wide = np.dtype(f"{m.type.dtype.kind}8")

    def multiply(a: NDArray, b: NDArray) -> NDArray:
        factors = [(x << unused.astype(x.dtype) >> unused.astype(x.dtype)).astype(wide) for x in (a, b)]
        return (factors[0] * factors[1] >> shift.astype(wide)).astype(m.type.dtype)

    return multiply


@computes("mul24 part=lo|hi type=u32|s32", "T = T T")
def _(m: Modifiers) -> Compute:
    return _product24(m)


@computes("mad24 part=lo|hi type=u32|s32", "T = T T T")
def _(m: Modifiers) -> Compute:
    multiply = _product24(m)
    return lambda a, b, c: multiply(a, b) + c


@computes("mad24 part=hi sat type=s32", "T = T T T")
def _(m: Modifiers) -> Compute:
    multiply = _product24(m)
    return lambda a, b, c: ar.saturate_integer(multiply(a, b) + c.astype(np.int64), np.dtype(np.int32))


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


def _extremum(function: Compute) -> Callable[[Modifiers], Compute]:
    """min or max; `.relu` makes negative results zero."""

    def enter(m: Modifiers) -> Compute:
        compute = (lambda a, b: np.maximum(function(a, b), a.dtype.type(0))) if m["relu"] else function
        return _by_halves(compute, m) if m.type.name.endswith("x2") else compute

    return enter


for _opcode, _function in {"min": np.minimum, "max": np.maximum}.items():
    computes(f"{_opcode} type={INTEGERS}", "T = T T")(_extremum(_function))
    computes(f"{_opcode} type=u16x2", "T = T T", since=90)(_extremum(_function))
    computes(f"{_opcode} relu? type=s16x2", "T = T T", since=90)(_extremum(_function))
    computes(f"{_opcode} relu type=s32", "T = T T", since=90)(_extremum(_function))


@computes("dp4a type=u32|s32 source=u32|s32", "u32 = T S u32")
def _(m: Modifiers) -> Compute:
    return lambda a, b, c: _dot(_parts(a, 1), _parts(b, 1)) + c


@computes("dp2a part=lo|hi type=u32|s32 source=u32|s32", "u32 = T S u32")
def _(m: Modifiers) -> Compute:
    chosen = slice(0, 2) if m["part"] == "lo" else slice(2, 4)
    return lambda a, b, c: _dot(_parts(a, 2), _parts(b, 1)[:, chosen]) + c


def _parts(a: NDArray, nbytes: int) -> NDArray:
    """One row a lane: the bytes or halves of its word, lowest first, signed as the word."""
    return np.ascontiguousarray(a).view(f"{a.dtype.kind}{nbytes}").reshape(len(a), -1).astype(np.int64)


def _dot(a: NDArray, b: NDArray) -> NDArray:
    return (a * b).sum(axis=1).astype(np.uint32)


# Carry

CARRY = Register("carry flag", "pred")
"""The condition code CC.CF: a predicate register of each thread, under a name that no PTX can spell."""


def _with_carry(form: str, sources: int, definition: Callable[[Modifiers], Compute]) -> None:
    """Enter the forms of an instruction that read the carry flag (opcode in -c), write it (.cc), or both.

    The definition's function takes the sources and the carry, and returns the exact result's low bits and the
    carry-out, or borrow-out.
    """
    opcode, *rest = form.split()

    def enter(name: str, words: str, reads_carry: bool, writes_carry: bool) -> None:
        @instruction(" ".join([name, *words.split()]))
        def _(decoder: Decoder, m: Modifiers) -> Execute:
            destination, *operands = decoder.operands(1 + sources)
            compute = definition(m)
            reads = [decoder.read(operand, m.type) for operand in operands]
            carry_in = decoder.read(CARRY if reads_carry else Immediate(0), TYPES["pred"])
            write = decoder.write(destination, m.type)
            write_carry = decoder.write(CARRY if writes_carry else Sink(), TYPES["pred"], may_be_dropped=True)

            def execute(chunk: Chunk, lanes: Lanes) -> None:
                values = np.broadcast_arrays(*(read(chunk, lanes) for read in reads), carry_in(chunk, lanes))
                result, carry = compute(*values)
                write(chunk, lanes, result)
                write_carry(chunk, lanes, carry)

            return execute

    before, after = " ".join(rest[:-1]), rest[-1]
    enter(opcode, f"{before} cc {after}", False, True)
    enter(f"{opcode}c", f"{before} {after}", True, False)
    enter(f"{opcode}c", f"{before} cc {after}", True, True)


def _add_with_carry(a: NDArray, b: NDArray, carry: NDArray) -> tuple[NDArray, NDArray]:
    x, y = ar.unsigned(a), ar.unsigned(b)
    partial = x + y
    total = partial + carry.astype(x.dtype)
    return total.view(a.dtype), (partial < x) | (total < partial)


def _subtract_with_borrow(a: NDArray, b: NDArray, borrow: NDArray) -> tuple[NDArray, NDArray]:
    x, y = ar.unsigned(a), ar.unsigned(b)
    return (x - y - borrow.astype(x.dtype)).view(a.dtype), (x < y) | ((x == y) & borrow)


def _multiply_add_with_carry(m: Modifiers) -> Compute:
    multiply = ar.multiply_high if m["part"] == "hi" else np.multiply
    return lambda a, b, c, carry: _add_with_carry(multiply(a, b), c, carry)


_with_carry("add type=u32|s32|u64|s64", 2, lambda m: _add_with_carry)
_with_carry("sub type=u32|s32|u64|s64", 2, lambda m: _subtract_with_borrow)
_with_carry("mad part=lo|hi type=u32|s32|u64|s64", 3, _multiply_add_with_carry)


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


@computes("szext mode=clamp|wrap type=u32|s32", "T = T u32")
def _(m: Modifiers) -> Compute:
    return lambda a, width: ar.extend_bits(a, width, m["mode"] == "clamp")


@computes("bmsk mode=clamp|wrap type=b32", "u32 = u32 u32")
def _(m: Modifiers) -> Compute:
    return lambda start, width: ar.bit_mask(start, width, m["mode"] == "clamp")


@computes("fns type=b32", "T = T u32 s32")
def _(m: Modifiers) -> Compute:
    return ar.find_nth_set


@instruction("lop3 type=b32")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    destination, *sources, operand = decoder.operands(5)
    table = _logic_table(decoder, operand)
    return decoder.compute(lambda a, b, c: ar.logic3(a, b, c, table), destination, "T", sources, "TTT", m)


@instruction("lop3 combine=or|and type=b32")
def _(decoder: Decoder, m: Modifiers) -> Execute:
    """lop3.or.b32 d|p, a, b, c, table, q: p says whether d is other than 0, or/and q."""
    destination, *sources, operand, predicate = decoder.operands(6)
    if not isinstance(destination, Pair):
        raise decoder.invalid("expected two destinations, d|p")
    table = _logic_table(decoder, operand)
    combine = np.logical_or if m["combine"] == "or" else np.logical_and
    reads = [decoder.read(source, m.type) for source in sources]
    read_predicate = decoder.read(predicate, TYPES["pred"])
    write = decoder.write(destination.first, m.type, may_be_dropped=True)
    write_predicate = decoder.write(destination.second, TYPES["pred"])

    def execute(chunk: Chunk, lanes: Lanes) -> None:
        a, b, c = (read(chunk, lanes) for read in reads)
        result = ar.logic3(a, b, c, table)
        other = read_predicate(chunk, lanes).copy()
        write(chunk, lanes, result)
        write_predicate(chunk, lanes, combine(result != 0, other))

    return execute


def _logic_table(decoder: Decoder, operand: Operand) -> int:
    if not isinstance(operand, Immediate) or isinstance(operand.value, float) or operand.value not in range(256):
        raise decoder.invalid("the table of lop3 must be a constant from 0 to 255")
    return operand.value


@computes("prmt type=b32 mode=f4e|b4e|rc8|ecl|ecr|rc16?", "T = T T T")
def _(m: Modifiers) -> Compute:
    return lambda a, b, selector: ar.permute_bytes(a, b, selector, m["mode"])


@computes("shf direction=l|r mode=wrap|clamp type=b32", "T = T T u32")
def _(m: Modifiers) -> Compute:
    left, clamp = m["direction"] == "l", m["mode"] == "clamp"
    return lambda low, high, amount: ar.funnel_shift(low, high, amount, left, clamp)
