"""Integer arithmetic, and operations on bits (PTX ISA 9.7.1, 9.7.2 and 9.7.8)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir
from llvmlite.ir import Value

from softgpu.arithmetic import PERMUTE_MODES
from softgpu.instructions.integer import CARRY
from softgpu.instructions.table import TYPES, Modifiers
from softgpu.native.emitters.table import computes, emits
from softgpu.native.translator import I8, I16, I32, I64, Translator
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


def _by_halves(t: Translator, build: Callable[..., Value], *packed: Value) -> Value:
    """Apply a function on 16-bit integers to both halves of 32 bits."""
    low = build(*(t.b.trunc(x, I16) for x in packed))
    high = build(*(t.b.trunc(t.b.lshr(x, constant(I32, 16)), I16) for x in packed))
    return t.b.or_(t.b.zext(low, I32), t.b.shl(t.b.zext(high, I32), constant(I32, 16)))


@computes("add type=u16x2|s16x2", "T = T T")
def _(t: Translator, m: Modifiers, a: Value, b: Value) -> Value:
    return _by_halves(t, t.b.add, a, b)


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


def _product24(t: Translator, m: Modifiers, a: Value, b: Value) -> Value:
    """The lower or upper 32 of the 48 bits of a product of 24 bits."""
    unused = constant(I32, 8)
    narrow = t.b.ashr if signed(m) else t.b.lshr
    product = t.b.mul(*(extend(t, m, narrow(t.b.shl(x, unused), unused), 64) for x in (a, b)))
    return t.b.trunc(t.b.lshr(product, constant(I64, 16)) if m["part"] == "hi" else product, I32)


@computes("mul24 part=lo|hi type=u32|s32", "T = T T")
def _(t: Translator, m: Modifiers, a: Value, b: Value) -> Value:
    return _product24(t, m, a, b)


@computes("mad24 part=lo|hi type=u32|s32", "T = T T T")
@computes("mad24 part=hi sat type=s32", "T = T T T")
def _(t: Translator, m: Modifiers, a: Value, b: Value, c: Value) -> Value:
    product = _product24(t, m, a, b)
    return intrinsic(t, "sadd.sat", product, c) if m["sat"] else t.b.add(product, c)


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


def _extremum(opcode: str) -> None:
    def build(t: Translator, m: Modifiers, a: Value, b: Value) -> Value:
        def choose(x: Value, y: Value) -> Value:
            result = intrinsic(t, ("s" if signed(m) else "u") + opcode, x, y)
            return intrinsic(t, "smax", result, constant(result, 0)) if m["relu"] else result

        return _by_halves(t, choose, a, b) if m.type.name.endswith("x2") else choose(a, b)

    computes(f"{opcode} type={INTEGERS}|u16x2", "T = T T")(build)
    computes(f"{opcode} relu? type=s16x2|s32", "T = T T")(build)


_extremum("min")
_extremum("max")


def _parts(t: Translator, value: Value, bits: int, is_signed: bool) -> list[Value]:
    """The bytes or halves of a word, lowest first, extended to 32 bits."""
    parts = [t.b.trunc(t.b.lshr(value, constant(I32, at)), ir.IntType(bits)) for at in range(0, 32, bits)]
    return [t.b.sext(part, I32) if is_signed else t.b.zext(part, I32) for part in parts]


def _dot(t: Translator, m: Modifiers, a: Sequence[Value], b: Sequence[Value], c: Value) -> Value:
    for x, y in zip(a, b, strict=True):
        c = t.b.add(c, t.b.mul(x, y))
    return c


@computes("dp4a type=u32|s32 source=u32|s32", "b32 = T S b32")
def _(t: Translator, m: Modifiers, a: Value, b: Value, c: Value) -> Value:
    return _dot(t, m, _parts(t, a, 8, signed(m)), _parts(t, b, 8, m.source.name[0] == "s"), c)


@computes("dp2a part=lo|hi type=u32|s32 source=u32|s32", "b32 = T S b32")
def _(t: Translator, m: Modifiers, a: Value, b: Value, c: Value) -> Value:
    octets = _parts(t, b, 8, m.source.name[0] == "s")
    return _dot(t, m, _parts(t, a, 16, signed(m)), octets[:2] if m["part"] == "lo" else octets[2:], c)


# Carry: the flag is a hidden register (softgpu.instructions.integer.CARRY)


def _with_carry(form: str, build: Callable[..., tuple[Value, Value]]) -> None:
    """Enter the forms of an instruction that read the carry flag (opcode in -c), write it (.cc), or both.

    `build` gets the sources and the carry, and returns the low bits of the result and the carry-out, or borrow-out.
    """
    opcode, *rest = form.split()
    before, after = " ".join(rest[:-1]), rest[-1]

    def enter(name: str, words: str, reads_carry: bool, writes_carry: bool) -> None:
        @emits(f"{name} {words}")
        def _(t: Translator, m: Modifiers) -> None:
            destination, *operands = t.operands()
            values = [t.read(operand, m.type) for operand in operands]
            carry = t.read(CARRY, TYPES["pred"]) if reads_carry else ir.Constant(ir.IntType(1), 0)
            result, carry = build(t, m, *values, carry)
            t.write(destination, m.type, result)
            if writes_carry:
                t.write(CARRY, TYPES["pred"], carry)

    enter(opcode, f"{before} cc {after}", False, True)
    enter(f"{opcode}c", f"{before} {after}", True, False)
    enter(f"{opcode}c", f"{before} cc {after}", True, True)


def _add_with_carry(t: Translator, m: Modifiers, a: Value, b: Value, carry: Value) -> tuple[Value, Value]:
    partial = t.b.add(a, b)
    total = t.b.add(partial, t.b.zext(carry, a.type))
    return total, t.b.or_(t.b.icmp_unsigned("<", partial, a), t.b.icmp_unsigned("<", total, partial))


def _subtract_with_borrow(t: Translator, m: Modifiers, a: Value, b: Value, borrow: Value) -> tuple[Value, Value]:
    equal = t.b.icmp_unsigned("==", a, b)
    borrows = t.b.or_(t.b.icmp_unsigned("<", a, b), t.b.and_(equal, borrow))
    return t.b.sub(t.b.sub(a, b), t.b.zext(borrow, a.type)), borrows


def _multiply_add_with_carry(
    t: Translator, m: Modifiers, a: Value, b: Value, c: Value, carry: Value
) -> tuple[Value, Value]:
    product = multiply_high(t, m, a, b) if m["part"] == "hi" else t.b.mul(a, b)
    return _add_with_carry(t, m, product, c, carry)


_with_carry("add type=u32|s32|u64|s64", _add_with_carry)
_with_carry("sub type=u32|s32|u64|s64", _subtract_with_borrow)
_with_carry("mad part=lo|hi type=u32|s32|u64|s64", _multiply_add_with_carry)


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


@computes("fns type=b32", "T = T u32 s32")
def _(t: Translator, m: Modifiers, mask: Value, base: Value, offset: Value) -> Value:
    """The position of the |offset|-th one from `base`, upwards or downwards; 0 asks for the one at `base` itself."""
    b = t.b
    zero, one = constant(I32, 0), constant(I32, 1)
    down, at_base = b.icmp_signed("<", offset, zero), b.icmp_unsigned("==", offset, zero)
    # Downwards is upwards in the mirrored word.
    mask = b.select(down, intrinsic(t, "bitreverse", mask), mask)
    start = b.select(down, b.sub(constant(I32, 31), base), base)
    mask = b.and_(mask, shift(t, constant(I32, -1), start, "left"))
    mask = b.select(at_base, b.and_(mask, shift(t, one, start, "left")), mask)
    skipped = b.sub(intrinsic(t, "umax", b.select(down, b.neg(offset), offset), one), one)
    for number in range(31):
        drop = b.icmp_unsigned(">", skipped, constant(I32, number))
        mask = b.select(drop, b.and_(mask, b.sub(mask, one)), mask)
    mask = b.select(b.icmp_unsigned(">", skipped, constant(I32, 31)), zero, mask)
    lowest = b.sub(constant(I32, 31), leading_zeros(t, b.and_(mask, b.neg(mask))))
    found = b.select(down, b.sub(constant(I32, 31), lowest), lowest)
    nothing = b.or_(b.icmp_unsigned("==", mask, zero), b.icmp_unsigned(">", base, constant(I32, 31)))
    return b.select(nothing, constant(I32, -1), found)


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


@computes("szext mode=clamp|wrap type=u32|s32", "T = T u32")
def _(t: Translator, m: Modifiers, a: Value, width: Value) -> Value:
    """The lowest bits, extended."""
    if m["mode"] == "wrap":
        width = t.b.and_(width, constant(I32, 31))
    unused = intrinsic(t, "usub.sat", constant(I32, 32), width)
    # All 32 bits are unused where the width is 0.
    return shift(t, shift(t, a, unused, "left"), unused, "arithmetic" if signed(m) else "right")


@computes("bmsk mode=clamp|wrap type=b32", "T = u32 u32")
def _(t: Translator, m: Modifiers, start: Value, width: Value) -> Value:
    if m["mode"] == "wrap":
        start, width = (t.b.and_(x, constant(I32, 31)) for x in (start, width))
    return shift(t, t.b.not_(shift(t, constant(I32, -1), width, "left")), start, "left")


@computes("prmt type=b32 mode=f4e|b4e|rc8|ecl|ecr|rc16?", "T = T T T")
def _(t: Translator, m: Modifiers, a: Value, b: Value, selector: Value) -> Value:
    pool = t.b.or_(t.b.zext(a, I64), t.b.shl(t.b.zext(b, I64), constant(I64, 32)))
    if m["mode"]:
        return _permute_by_mode(t, PERMUTE_MODES[str(m["mode"])], pool, selector)
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


def _permute_by_mode(t: Translator, rows: Sequence[Sequence[int]], pool: Value, selector: Value) -> Value:
    """The low two bits of the selector choose one of four rows of source bytes."""
    result: Value = constant(I32, 0)
    for number, row in enumerate(rows):
        word: Value = constant(I32, 0)
        for position, source in enumerate(row):
            byte = t.b.zext(t.b.trunc(t.b.lshr(pool, constant(I64, 8 * source)), I8), I32)
            word = t.b.or_(word, t.b.shl(byte, constant(I32, 8 * position)))
        chosen = t.b.icmp_unsigned("==", t.b.and_(selector, constant(I32, 3)), constant(I32, number))
        result = t.b.select(chosen, word, result)
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
