"""Integer instructions against Python's exact integers, at the edges of every type."""

import numpy as np
import pytest

RNG = np.random.default_rng(1)


def samples(bits: int, count: int = 40) -> list[int]:
    edges = [
        0,
        1,
        2,
        3,
        (1 << bits) - 1,
        1 << (bits - 1),
        (1 << (bits - 1)) - 1,
        (1 << bits) - 2,
        0xFF,
        31,
        32,
        33,
    ]
    numbers = [int.from_bytes(RNG.bytes(bits // 8), "little") >> int(RNG.integers(bits)) for _ in range(count)]
    return [number % (1 << bits) for number in edges + numbers]


def pairs(bits: int) -> tuple[list[int], list[int]]:
    values = samples(bits, 18)
    return [a for a in values for _ in values], [b for _ in values for b in values]


def signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) & 1 else value


def as_type(value: int, kind: str) -> int:
    return signed(value, int(kind[1:])) if kind[0] == "s" else value


def truncated_division(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


BINARY = {
    "add": lambda a, b, bits: a + b,
    "sub": lambda a, b, bits: a - b,
    "mul.lo": lambda a, b, bits: a * b,
    "mul.hi": lambda a, b, bits: a * b >> bits,
    "min": lambda a, b, bits: min(a, b),
    "max": lambda a, b, bits: max(a, b),
    "div": lambda a, b, bits: truncated_division(a, b) if b else -1,
    "rem": lambda a, b, bits: a - b * truncated_division(a, b) if b else a,
}


@pytest.mark.parametrize("kind", ["u16", "s16", "u32", "s32", "u64", "s64"])
@pytest.mark.parametrize("name", BINARY)
def test_binary(evaluate, name, kind):
    bits = int(kind[1:])
    a, b = pairs(bits)
    dtype = f"u{bits // 8}"
    got = evaluate(
        f"{name}.{kind} %d, %a, %b;",
        f"b{bits}",
        (f"b{bits}", np.array(a, dtype)),
        (f"b{bits}", np.array(b, dtype)),
    )
    expected = [BINARY[name](as_type(x, kind), as_type(y, kind), bits) % (1 << bits) for x, y in zip(a, b, strict=True)]
    assert got.tolist() == expected


@pytest.mark.parametrize("kind", ["u16", "s16", "u32", "s32"])
def test_wide_products_are_exact(evaluate, kind):
    bits = int(kind[1:])
    a, b = pairs(bits)
    operands = [(f"b{bits}", np.array(x, f"u{bits // 8}")) for x in (a, b)]
    got = evaluate(f"mul.wide.{kind} %d, %a, %b;", f"b{bits * 2}", *operands)
    assert got.tolist() == [as_type(x, kind) * as_type(y, kind) % (1 << 2 * bits) for x, y in zip(a, b, strict=True)]


@pytest.mark.parametrize(
    "name, kind",
    [("shl", kind) for kind in ("b16", "b32", "b64")]
    + [("shr", kind) for kind in ("b16", "b32", "b64", "u16", "u32", "u64", "s16", "s32", "s64")],
)
def test_shifts_clamp_at_the_width(evaluate, name, kind):
    bits = int(kind[1:])
    amounts = [0, 1, bits - 1, bits, bits + 1, 255, 256, 2**32 - 1]
    values = [a for a in samples(bits) for _ in amounts]
    amounts = amounts * (len(values) // len(amounts))
    got = evaluate(
        f"{name}.{kind} %d, %a, %b;",
        f"b{bits}",
        (f"b{bits}", np.array(values, f"u{bits // 8}")),
        ("b32", np.array(amounts, np.uint32)),
    )
    shift = (lambda a, n: a << n) if name == "shl" else (lambda a, n: a >> n)
    assert got.tolist() == [
        shift(as_type(a, kind), min(n, 2 * bits)) % (1 << bits) for a, n in zip(values, amounts, strict=True)
    ]


def bit_field_extract(a: int, position: int, length: int, bits: int, is_signed: bool) -> int:
    """The pseudo-code of PTX ISA, bfe."""
    position, length, top = position & 255, length & 255, bits - 1
    sign = a >> min(position + length - 1, top) & 1 if is_signed and length else 0
    result = 0
    for i in range(bits):
        bit = a >> (position + i) & 1 if i < length and position + i <= top else sign
        result |= bit << i
    return result


def bit_field_insert(a: int, b: int, position: int, length: int, bits: int) -> int:
    result, position, length = b, position & 255, length & 255
    for i in range(length):
        if position + i < bits:
            result = result & ~(1 << position + i) | (a >> i & 1) << position + i
    return result


@pytest.mark.parametrize("kind", ["u32", "s32", "u64", "s64"])
def test_bit_fields(evaluate, kind):
    bits = int(kind[1:])
    values = np.array([a for a in samples(bits, 4) for _ in range(40)], f"u{bits // 8}")
    ends = RNG.choice([0, 1, 5, 8, 31, 32, 33, 63, 64, 65, 255, 256], (2, len(values))).astype(np.uint32)
    register = f"b{bits}"
    got = evaluate(f"bfe.{kind} %d, %a, %b, %c;", register, (register, values), ("b32", ends[0]), ("b32", ends[1]))
    rows = list(zip(values.tolist(), *ends.tolist(), strict=True))
    assert got.tolist() == [bit_field_extract(a, p, n, bits, kind[0] == "s") for a, p, n in rows]

    other = values[::-1].copy()
    for position, length in [(0, 0), (0, bits), (5, 9), (bits - 1, 4), (bits, 3), (3, 255)]:
        code = f"bfi.{register} %d, %a, %b, {position}, {length};"
        got = evaluate(code, register, (register, values), (register, other))
        assert got.tolist() == [
            bit_field_insert(a, b, position, length, bits) for a, b in zip(values.tolist(), other.tolist(), strict=True)
        ]


@pytest.mark.parametrize("bits", [32, 64])
def test_counting_and_reversing_bits(evaluate, bits):
    values = samples(bits)
    operand = (f"b{bits}", np.array(values, f"u{bits // 8}"))

    def run(name, result="b32"):
        return evaluate(f"{name} %d, %a;", result, operand).tolist()

    assert run(f"clz.b{bits}") == [bits - a.bit_length() for a in values]
    assert run(f"popc.b{bits}") == [a.bit_count() for a in values]
    assert run(f"bfind.u{bits}") == [(a.bit_length() - 1) % 2**32 for a in values]
    magnitudes = [~signed(a, bits) if signed(a, bits) < 0 else a for a in values]
    assert run(f"bfind.s{bits}") == [(a.bit_length() - 1) % 2**32 for a in magnitudes]
    assert run(f"brev.b{bits}", f"b{bits}") == [int(f"{a:0{bits}b}"[::-1], 2) for a in values]
    assert run(f"not.b{bits}", f"b{bits}") == [a ^ (1 << bits) - 1 for a in values]
    assert run(f"cnot.b{bits}", f"b{bits}") == [int(a == 0) for a in values]


def test_three_input_logic(evaluate):
    a, b, c = (np.array(samples(32), np.uint32) for _ in range(3))
    for table in (0, 0xFF, 0x80, 0x96, 0xE8, 0x3C, 0x1):
        got = evaluate(f"lop3.b32 %d, %a, %b, %c, {table};", "b32", ("b32", a), ("b32", b), ("b32", c))
        for x, y, z, result in zip(a.tolist(), b.tolist(), c.tolist(), got.tolist(), strict=True):
            bits = [table >> (4 * (x >> i & 1) + 2 * (y >> i & 1) + (z >> i & 1)) & 1 for i in range(32)]
            assert result == sum(bit << i for i, bit in enumerate(bits))


@pytest.mark.parametrize("combine, negated", [("or", ""), ("and", ""), ("or", "!"), ("and", "!")])
def test_three_input_logic_with_a_predicate(evaluate, combine, negated):
    a = np.array([0, 0, 0xF0, 0xF0, 0xFF, 0xFF], np.uint32)
    b = np.array([0, 1, 0, 1, 0, 1], np.uint32)
    # 0x80 is a & b & c. The predicate is also a source.
    code = f"""setp.ne.u32 %p, %b, 0; lop3.{combine}.b32 %r2|%p, %a, 0xF0, 0xFF, 0x80, {negated}%p;
               selp.u32 %r3, 0x100, 0, %p; or.b32 %d, %r2, %r3; lop3.{combine}.b32 _|%q, %a, %a, %a, 0x80, %p;"""
    got = evaluate(code, "b32", ("b32", a), ("b32", b)).tolist()
    expected = []
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        p, q = x & 0xF0 != 0, (y != 0) != bool(negated)
        expected.append(x & 0xF0 | 0x100 * (p or q if combine == "or" else p and q))
    assert got == expected


def test_byte_permutation(evaluate):
    a, b = (np.full(6, value, np.uint32) for value in (0x83828180, 0x07060504))
    selectors = np.array([0x3210, 0x7654, 0x0123, 0xB210, 0xF0F8, 0x5555], np.uint32)
    got = evaluate("prmt.b32 %d, %a, %b, %c;", "b32", ("b32", a), ("b32", b), ("b32", selectors))
    assert [hex(x) for x in got] == [
        "0x83828180",
        "0x7060504",
        "0x80818283",
        "0xff828180",
        "0x8000ff",
        "0x5050505",
    ]
    forward = evaluate("prmt.b32.f4e %d, %a, %b, 1;", "b32", ("b32", a), ("b32", b))
    assert hex(forward[0]) == "0x4838281"


@pytest.mark.parametrize("mode", ["wrap", "clamp"])
def test_funnel_shift(evaluate, mode):
    amounts = np.array([0, 1, 31, 32, 33, 64], np.uint32)
    low, high = (np.full(6, value, np.uint32) for value in (0x89ABCDEF, 0x01234567))
    operands = [("b32", x) for x in (low, high, amounts)]
    joined = 0x0123456789ABCDEF
    shifts = [min(n, 32) if mode == "clamp" else n % 32 for n in amounts.tolist()]
    left = evaluate(f"shf.l.{mode}.b32 %d, %a, %b, %c;", "b32", *operands)
    assert left.tolist() == [joined << n >> 32 & 0xFFFFFFFF for n in shifts]
    right = evaluate(f"shf.r.{mode}.b32 %d, %a, %b, %c;", "b32", *operands)
    assert right.tolist() == [joined >> n & 0xFFFFFFFF for n in shifts]


@pytest.mark.parametrize("name", ["add", "sub"])
def test_saturating_addition(evaluate, name):
    a, b = pairs(32)
    got = evaluate(f"{name}.sat.s32 %d, %a, %b;", "b32", *(("b32", np.array(x, np.uint32)) for x in (a, b)))
    sign = 1 if name == "add" else -1
    sums = [signed(x, 32) + sign * signed(y, 32) for x, y in zip(a, b, strict=True)]
    assert got.view(np.int32).tolist() == [max(-(2**31), min(2**31 - 1, total)) for total in sums]


INTEGERS = [f"{kind}{bits}" for bits in (8, 16, 32, 64) for kind in "us"]


def bounds(kind):
    bits = int(kind[1:])
    return (0, (1 << bits) - 1) if kind[0] == "u" else (-(1 << bits - 1), (1 << bits - 1) - 1)


def may_not_fit(source, target):
    (low, high), (lowest, highest) = bounds(source), bounds(target)
    return low < lowest or high > highest


@pytest.mark.parametrize(
    "saturate, source, target",
    [(x, a, b) for x in (False, True) for a in INTEGERS for b in INTEGERS if not x or may_not_fit(a, b)],
)
def test_integer_conversion(evaluate, source, target, saturate):
    values = np.array(samples(64), np.uint64)
    bits, wide = int(source[1:]), 64
    low, high = bounds(target)
    got = evaluate(f"cvt{'.sat' if saturate else ''}.{target}.{source} %d, %a;", f"b{wide}", ("b64", values))
    expected = []
    for value in values.tolist():
        number = as_type(value % (1 << bits), source)
        number = max(low, min(high, number)) if saturate else as_type(number % (1 << int(target[1:])), target)
        expected.append(number % (1 << wide))
    assert got.tolist() == expected


@pytest.mark.parametrize("kind", ["u32", "s32", "u64", "s64"])
def test_comparisons(evaluate, kind):
    bits = int(kind[1:])
    a, b = pairs(bits)
    operands = [(f"b{bits}", np.array(x, f"u{bits // 8}")) for x in (a, b)]
    for name, compare in {
        "eq": int.__eq__,
        "ne": int.__ne__,
        "lt": int.__lt__,
        "le": int.__le__,
        "gt": int.__gt__,
        "ge": int.__ge__,
    }.items():
        got = evaluate(f"setp.{name}.{kind} %p, %a, %b; selp.b32 %d, 1, 0, %p;", "b32", *operands)
        pairs_of_values = zip(a, b, strict=True)
        assert got.tolist() == [int(compare(as_type(x, kind), as_type(y, kind))) for x, y in pairs_of_values]


def test_combined_comparison_writes_both_predicates(evaluate):
    a = np.array([0, 0, 5, 5], np.uint32)
    c = np.array([0, 1, 0, 1], np.uint32)
    code = """setp.ne.u32 %p1, %b, 0; setp.gt.and.u32 %p|%q, %a, 3, !%p1;
              selp.u32 %r2, 1, 0, %p; selp.u32 %r3, 2, 0, %q; add.u32 %d, %r2, %r3;"""
    assert evaluate(code, "b32", ("b32", a), ("b32", c)).tolist() == [2, 0, 1, 0]
    got = evaluate("set.lt.s32.s32 %d, %a, 1;", "b32", ("b32", a))
    assert got.tolist() == [0xFFFFFFFF, 0xFFFFFFFF, 0, 0]
