"""Integer arithmetic, and operations on bits (PTX ISA 9.7.1, 9.7.2 and 9.7.8)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from softgpu import arithmetic as ar
from softgpu.instructions.decoder import Decoder
from softgpu.instructions.table import Compute, Modifiers, computes, instruction
from softgpu.program import Execute
from softgpu.ptx import Immediate

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
