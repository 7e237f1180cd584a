"""Integer arithmetic, and operations on bits (PTX ISA 9.7.1, 9.7.2 and 9.7.8)."""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir
from llvmlite.ir import Value

from softgpu.instructions.table import TYPES, Modifiers
from softgpu.native.emitters.table import computes, emits
from softgpu.native.translator import I8, I32, I64, Translator
from softgpu.ptx import Immediate, Operand, Pair

INTEGERS = "u16|s16|u32|s32|u64|s64"


def signed(m: Modifiers) -> bool:
    return m.type.name[0] == "s"


def constant(like: Value | ir.Type, number: int) -> Value:
    kind = like if isinstance(like, ir.Type) else like.type
    return ir.Constant(kind, number & (1 << kind.width) - 1)


def extend(t: Translator, m: Modifiers, value: Value, bits: int) -> Value:
    return t.b.sext(value, ir.IntType(bits)) if signed(m) else t.b.zext(value, ir.IntType(bits))


def less(t: Translator, m: Modifiers, a: Value, b: Value) -> Value:
    return t.b.icmp_signed("<", a, b) if signed(m) else t.b.icmp_unsigned("<", a, b)


def intrinsic(t: Translator, name: str, *values: Value) -> Value:
    """Call an LLVM intrinsic whose result has the type of its first operand, which its name ends in."""
    kind = values[0].type
    suffix = {"float": "f32", "double": "f64"}.get(str(kind), str(kind))
    full = f"llvm.{name}.{suffix}"
    function = t.module.globals.get(full)
    if function is None:
        function = ir.Function(t.module, ir.FunctionType(kind, [value.type for value in values]), full)
    return t.b.call(function, values)


def clamp(t: Translator, value: Value, low: int, high: int) -> Value:
    """A signed value within bounds."""
    return intrinsic(t, "smin", intrinsic(t, "smax", value, constant(value, low)), constant(value, high))


@computes(f"add type={INTEGERS}", "T = T T")
def _(t: Translator, m: Modifiers, a: Value, b: Value) -> Value:
    return t.b.add(a, b)


@computes(f"sub type={INTEGERS}", "T = T T")
def _(t: Translator, m: Modifiers, a: Value, b: Value) -> Value:
    return t.b.sub(a, b)


@computes("add sat type=s32", "T = T T")
def _(t: Translator, m: Modifiers, a: Value, b: Value) -> Value:
    return intrinsic(t, "sadd.sat", a, b)


@computes("sub sat type=s32", "T = T T")
def _(t: Translator, m: Modifiers, a: Value, b: Value) -> Value:
    return intrinsic(t, "ssub.sat", a, b)


@computes(f"mul lo type={INTEGERS}", "T = T T")
def _(t: Translator, m: Modifiers, a: Value, b: Value) -> Value:
    return t.b.mul(a, b)


def multiply_high(t: Translator, m: Modifiers, a: Value, b: Value) -> Value:
    bits = m.type.bits
    product = t.b.mul(extend(t, m, a, 2 * bits), extend(t, m, b, 2 * bits))
    return t.b.trunc(t.b.lshr(product, constant(product, bits)), a.type)


def multiply_wide(t: Translator, m: Modifiers, a: Value, b: Value) -> Value:
    bits = 2 * m.type.bits
    return t.b.mul(extend(t, m, a, bits), extend(t, m, b, bits))


@computes(f"mul hi type={INTEGERS}", "T = T T")
def _(t: Translator, m: Modifiers, a: Value, b: Value) -> Value:
    return multiply_high(t, m, a, b)


@computes("mul wide type=u16|s16|u32|s32", "W = T T")
def _(t: Translator, m: Modifiers, a: Value, b: Value) -> Value:
    return multiply_wide(t, m, a, b)


@computes(f"mad lo type={INTEGERS}", "T = T T T")
def _(t: Translator, m: Modifiers, a: Value, b: Value, c: Value) -> Value:
    return t.b.add(t.b.mul(a, b), c)


@computes(f"mad hi type={INTEGERS}", "T = T T T")
def _(t: Translator, m: Modifiers, a: Value, b: Value, c: Value) -> Value:
    return t.b.add(multiply_high(t, m, a, b), c)


@computes("mad hi sat type=s32", "T = T T T")
def _(t: Translator, m: Modifiers, a: Value, b: Value, c: Value) -> Value:
    return intrinsic(t, "sadd.sat", multiply_high(t, m, a, b), c)


@computes("mad wide type=u16|s16|u32|s32", "W = T T W")
def _(t: Translator, m: Modifiers, a: Value, b: Value, c: Value) -> Value:
    return t.b.add(multiply_wide(t, m, a, b), c)


@computes(f"sad type={INTEGERS}", "T = T T T")
def _(t: Translator, m: Modifiers, a: Value, b: Value, c: Value) -> Value:
    difference = t.b.select(less(t, m, a, b), t.b.sub(b, a), t.b.sub(a, b))
    return t.b.add(c, difference)


def _divide(t: Translator, m: Modifiers, a: Value, b: Value) -> tuple[Value, Value]:
    """Quotient, all ones for a divisor of zero, and remainder."""
    zero, one, minus = constant(b, 0), constant(b, 1), constant(b, -1)
    by_zero = t.b.icmp_unsigned("==", b, zero)
    if not signed(m):
        quotient = t.b.udiv(a, t.b.select(by_zero, one, b))
    else:
        # The most negative number divided by -1 wraps to itself.
        negates = t.b.icmp_unsigned("==", b, minus)
        plain = t.b.sdiv(a, t.b.select(t.b.or_(by_zero, negates), one, b))
        quotient = t.b.select(negates, t.b.neg(a), plain)
    quotient = t.b.select(by_zero, minus, quotient)
    return quotient, t.b.select(by_zero, a, t.b.sub(a, t.b.mul(b, quotient)))


@computes(f"div type={INTEGERS}", "T = T T")
def _(t: Translator, m: Modifiers, a: Value, b: Value) -> Value:
    return _divide(t, m, a, b)[0]


@computes(f"rem type={INTEGERS}", "T = T T")
def _(t: Translator, m: Modifiers, a: Value, b: Value) -> Value:
    return _divide(t, m, a, b)[1]


@computes("abs type=s16|s32|s64", "T = T")
def _(t: Translator, m: Modifiers, a: Value) -> Value:
    return t.b.select(t.b.icmp_signed("<", a, constant(a, 0)), t.b.neg(a), a)


@computes("neg type=s16|s32|s64", "T = T")
def _(t: Translator, m: Modifiers, a: Value) -> Value:
    return t.b.neg(a)


@computes(f"min type={INTEGERS}", "T = T T")
def _(t: Translator, m: Modifiers, a: Value, b: Value) -> Value:
    return t.b.select(less(t, m, a, b), a, b)


@computes(f"max type={INTEGERS}", "T = T T")
def _(t: Translator, m: Modifiers, a: Value, b: Value) -> Value:
    return t.b.select(less(t, m, a, b), b, a)


# Bits


@computes("and type=pred|b16|b32|b64", "T = T T")
def _(t: Translator, m: Modifiers, a: Value, b: Value) -> Value:
    return t.b.and_(a, b)


@computes("or type=pred|b16|b32|b64", "T = T T")
def _(t: Translator, m: Modifiers, a: Value, b: Value) -> Value:
    return t.b.or_(a, b)


@computes("xor type=pred|b16|b32|b64", "T = T T")
def _(t: Translator, m: Modifiers, a: Value, b: Value) -> Value:
    return t.b.xor(a, b)


@computes("not type=pred|b16|b32|b64", "T = T")
def _(t: Translator, m: Modifiers, a: Value) -> Value:
    return t.b.not_(a)


@computes("cnot type=b16|b32|b64", "T = T")
def _(t: Translator, m: Modifiers, a: Value) -> Value:
    return t.b.zext(t.b.icmp_unsigned("==", a, constant(a, 0)), a.type)


def shift(t: Translator, a: Value, amount: Value, direction: str) -> Value:
    """Amounts (32 bits) of the width or more give 0, or copies of the sign."""
    width = a.type.width
    inside = t.b.icmp_unsigned("<", amount, constant(amount, width))
    last = constant(amount, width - 1)
    shifted = {"left": t.b.shl, "right": t.b.lshr, "arithmetic": t.b.ashr}[direction](
        a, t.resize(t.b.select(inside, amount, last), a.type)
    )
    return shifted if direction == "arithmetic" else t.b.select(inside, shifted, constant(a, 0))


@computes("shl type=b16|b32|b64", "T = T u32")
def _(t: Translator, m: Modifiers, a: Value, amount: Value) -> Value:
    return shift(t, a, amount, "left")


@computes("shr type=b16|b32|b64|u16|u32|u64|s16|s32|s64", "T = T u32")
def _(t: Translator, m: Modifiers, a: Value, amount: Value) -> Value:
    return shift(t, a, amount, "arithmetic" if signed(m) else "right")


def _low_byte(t: Translator, value: Value) -> Value:
    return t.b.and_(value, constant(value, 0xFF))


@computes("bfe type=u32|s32|u64|s64", "T = T u32 u32")
def _(t: Translator, m: Modifiers, a: Value, position: Value, length: Value) -> Value:
    width = m.type.bits
    position, length = _low_byte(t, position), _low_byte(t, length)
    available = t.b.sub(constant(I32, width), intrinsic(t, "umin", position, constant(I32, width)))
    taken = intrinsic(t, "umin", length, available)
    mask = t.b.not_(shift(t, constant(a, -1), taken, "left"))
    field = t.b.and_(shift(t, a, position, "right"), mask)
    if not signed(m):
        return field
    # The sign is the field's top bit, or the source's own where the field reaches beyond it.
    top = t.b.sub(t.b.add(position, length), constant(I32, 1))
    sign = t.b.trunc(shift(t, a, intrinsic(t, "umin", top, constant(I32, width - 1)), "right"), ir.IntType(1))
    negative = t.b.and_(sign, t.b.icmp_unsigned("!=", length, constant(I32, 0)))
    return t.b.select(negative, t.b.or_(field, t.b.not_(mask)), field)


@computes("bfi type=b32|b64", "T = T T u32 u32")
def _(t: Translator, m: Modifiers, a: Value, b: Value, position: Value, length: Value) -> Value:
    position, length = _low_byte(t, position), _low_byte(t, length)
    mask = shift(t, t.b.not_(shift(t, constant(b, -1), length, "left")), position, "left")
    return t.b.or_(t.b.and_(b, t.b.not_(mask)), t.b.and_(shift(t, a, position, "left"), mask))


@computes("brev type=b32|b64", "T = T")
def _(t: Translator, m: Modifiers, a: Value) -> Value:
    return intrinsic(t, "bitreverse", a)


def leading_zeros(t: Translator, a: Value) -> Value:
    name = f"llvm.ctlz.i{a.type.width}"
    function = t.module.globals.get(name)
    if function is None:
        function = ir.Function(t.module, ir.FunctionType(a.type, [a.type, ir.IntType(1)]), name)
    return t.resize(t.b.call(function, [a, ir.Constant(ir.IntType(1), 0)]), I32)


@computes("clz type=b32|b64", "u32 = T")
def _(t: Translator, m: Modifiers, a: Value) -> Value:
    return leading_zeros(t, a)


@computes("popc type=b32|b64", "u32 = T")
def _(t: Translator, m: Modifiers, a: Value) -> Value:
    return t.resize(intrinsic(t, "ctpop", a), I32)


@computes("bfind shiftamt? type=u32|s32|u64|s64", "u32 = T")
def _(t: Translator, m: Modifiers, a: Value) -> Value:
    width = m.type.bits
    if signed(m):
        a = t.b.xor(a, t.b.ashr(a, constant(a, width - 1)))
    leading = leading_zeros(t, a)
    none = t.b.icmp_unsigned("==", leading, constant(I32, width))
    found = leading if m["shiftamt"] else t.b.sub(constant(I32, width - 1), leading)
    return t.b.select(none, constant(I32, -1), found)


def _logic3(t: Translator, sources: Sequence[Operand], table: Operand) -> Value:
    assert isinstance(table, Immediate)
    values = [t.read(source, TYPES["b32"]) for source in sources]
    result: Value = constant(I32, 0)
    for minterm in range(8):
        if int(table.value) >> minterm & 1:
            term: Value = constant(I32, -1)
            for value, bit in zip(values, (4, 2, 1), strict=True):
                term = t.b.and_(term, value if minterm & bit else t.b.not_(value))
            result = t.b.or_(result, term)
    return result


@emits("lop3 type=b32")
def _(t: Translator, m: Modifiers) -> None:
    destination, *sources, table = t.operands()
    t.write(destination, TYPES["b32"], _logic3(t, sources, table))


@emits("lop3 combine=or|and type=b32")
def _(t: Translator, m: Modifiers) -> None:
    destination, *sources, table, predicate = t.operands()
    assert isinstance(destination, Pair)
    result = _logic3(t, sources, table)
    other, some = t.read(predicate, TYPES["pred"]), t.b.icmp_unsigned("!=", result, constant(I32, 0))
    t.write(destination.first, TYPES["b32"], result)
    t.write(destination.second, TYPES["pred"], t.b.or_(some, other) if m["combine"] == "or" else t.b.and_(some, other))


@computes("prmt type=b32", "T = T T T")
def _(t: Translator, m: Modifiers, a: Value, b: Value, selector: Value) -> Value:
    pool = t.b.or_(t.b.zext(a, I64), t.b.shl(t.b.zext(b, I64), constant(I64, 32)))
    result: Value = constant(I32, 0)
    for position in range(4):
        choice = t.b.lshr(selector, constant(I32, 4 * position))
        offset = t.b.shl(t.b.zext(t.b.and_(choice, constant(I32, 7)), I64), constant(I64, 3))
        byte = t.b.trunc(t.b.lshr(pool, offset), I8)
        sign = t.b.ashr(byte, constant(I8, 7))
        wants_sign = t.b.trunc(t.b.lshr(choice, constant(I32, 3)), ir.IntType(1))
        chosen = t.b.zext(t.b.select(wants_sign, sign, byte), I32)
        result = t.b.or_(result, t.b.shl(chosen, constant(I32, 8 * position)))
    return result


@computes("shf direction=l|r mode=wrap|clamp type=b32", "T = T T u32")
def _(t: Translator, m: Modifiers, low: Value, high: Value, amount: Value) -> Value:
    if m["mode"] == "clamp":
        amount = intrinsic(t, "umin", amount, constant(I32, 32))
    else:
        amount = t.b.and_(amount, constant(I32, 31))
    joined = t.b.or_(t.b.zext(low, I64), t.b.shl(t.b.zext(high, I64), constant(I64, 32)))
    wide = t.b.zext(amount, I64)
    if m["direction"] == "r":
        return t.b.trunc(t.b.lshr(joined, wide), I32)
    return t.b.trunc(t.b.lshr(t.b.shl(joined, wide), constant(I64, 32)), I32)
