"""Floating-point instructions against exact rational arithmetic and float64 references."""

import math
from fractions import Fraction

import numpy as np
import pytest

RNG = np.random.default_rng(2)
SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    math.inf,
    -math.inf,
    math.nan,
    0.5,
    1.5,
    2.5,
    -2.5,
    3.0e9,
    -3.0e9,
    1e19,
    -1e19,
    1e30,
]


def floats(kind: str, count: int = 60) -> np.ndarray:
    """Specials, subnormals, extremes and random bit patterns."""
    dtype = np.dtype(kind)
    limits = np.finfo(dtype)
    with np.errstate(over="ignore"):
        edges = np.array([*SPECIAL, limits.max, -limits.max, limits.tiny, limits.smallest_subnormal], dtype)
    raw = RNG.integers(0, 256, count * dtype.itemsize, dtype=np.uint8).view(dtype)
    return np.concatenate([edges, raw])


def grid(kind: str) -> tuple[np.ndarray, np.ndarray]:
    values = floats(kind, 11)
    return np.repeat(values, len(values)), np.tile(values, len(values))


def round_exact(value: Fraction, kind: str, mode: str) -> float:
    """Correct rounding by choosing between the neighbouring floats, independent of the code under test."""
    dtype = np.dtype(kind).type
    infinity = Fraction(2) ** {"f2": 16, "f4": 128, "f8": 1024}[kind]

    def exact(x: np.floating) -> Fraction:
        return Fraction(float(x)) if np.isfinite(x) else infinity * (1 if x > 0 else -1)

    clipped = max(-infinity, min(infinity, value))
    with np.errstate(over="ignore"):
        try:
            guess = dtype(clipped.numerator / clipped.denominator)
        except OverflowError:
            guess = dtype(math.inf if value > 0 else -math.inf)
        around = [np.nextafter(guess, dtype(-math.inf)), guess, np.nextafter(guess, dtype(math.inf))]
    below = max((x for x in around if exact(x) <= clipped), key=exact)
    above = min((x for x in around if exact(x) >= clipped), key=exact)
    if abs(value) > infinity:
        below, above = sorted((guess, np.nextafter(guess, dtype(0))))
    if mode in ("rm", "rp"):
        return float(below if mode == "rm" else above)
    if mode == "rz":
        return float(below if value > 0 else above)
    if abs(value) >= infinity:
        return math.inf if value > 0 else -math.inf
    to_below, to_above = clipped - exact(below), exact(above) - clipped
    if to_below != to_above:
        return float(below if to_below < to_above else above)
    return float(min(below, above, key=lambda x: int(np.array(x).view(f"u{np.dtype(kind).itemsize}")) % 2))


def same(got: np.ndarray, expected: np.ndarray) -> None:
    """Equal bit for bit, except that any NaN equals any other."""
    both_nan = np.isnan(got) & np.isnan(expected)
    bits = f"u{got.dtype.itemsize}"
    wrong = ~both_nan & (got.view(bits) != expected.astype(got.dtype).view(bits))
    assert not wrong.any(), (got[wrong][:5], expected[wrong][:5], np.flatnonzero(wrong)[:5])


def run(evaluate, code: str, kind: str, *operands: np.ndarray) -> np.ndarray:
    register = f"b{int(kind[1:])}"
    width = f"u{int(kind[1:]) // 8}"
    return evaluate(code, register, *((register, x.view(width)) for x in operands)).view(f"f{int(kind[1:]) // 8}")


EXACT = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
}


@pytest.mark.parametrize("mode", ["rn", "rz", "rm", "rp"])
@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("name", EXACT)
def test_arithmetic_rounds_correctly(evaluate, name, kind, mode):
    a, b = grid(kind)
    ptx = f"f{8 * int(kind[1])}"
    got = run(evaluate, f"{name}.{mode}.{ptx} %d, %a, %b;", ptx, a, b)
    with np.errstate(all="ignore"):
        nearest = EXACT[name](a, b)
    for x, y, result, near in zip(a.tolist(), b.tolist(), got.tolist(), nearest.tolist(), strict=True):
        if not (math.isfinite(x) and math.isfinite(y)) or (name == "div" and y == 0):
            assert math.isnan(result) if math.isnan(near) else result == near
            continue
        exact = EXACT[name](Fraction(x), Fraction(y))
        assert result == round_exact(exact, kind, mode), (x, y)
        if result == 0 and mode == "rn":
            assert math.copysign(1, result) == math.copysign(1, near)


def test_zero_sums_are_negative_only_when_rounding_down(evaluate):
    a, b = np.array([1, -1, 0, -0.0, 0], "f4"), np.array([-1, 1, 0, 0, -0.0], "f4")
    down = run(evaluate, "add.rm.f32 %d, %a, %b;", "f32", a, b)
    assert np.signbit(down).tolist() == [True, True, False, True, True]
    up = run(evaluate, "add.rp.f32 %d, %a, %b;", "f32", a, b)
    assert np.signbit(up).tolist() == [False] * 5


def test_fma_is_rounded_once_where_double_rounding_shows(evaluate):
    a, b, c = (np.array([bits], np.uint32) for bits in (0x39800002, 0x397FFFFC, 0x3F800001))
    got = evaluate("fma.rn.f32 %d, %a, %b, %c;", "f32", ("f32", a), ("f32", b), ("f32", c))
    assert hex(got[0]) == "0x3f800001"


@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
def test_fma_is_rounded_once(evaluate, kind):
    count = 900
    a, b, c = (np.resize(RNG.permutation(floats(kind, 400)), count) for _ in range(3))
    # Half of the cases cancel, where the low bits of the product decide.
    with np.errstate(all="ignore"):
        c[: count // 2] = -(a * b)[: count // 2]
    ptx = f"f{8 * int(kind[1])}"
    got = run(evaluate, f"fma.rn.{ptx} %d, %a, %b, %c;", ptx, a, b, c)
    for x, y, z, result in zip(a.tolist(), b.tolist(), c.tolist(), got.tolist(), strict=True):
        # Of an infinite addend a product of finite numbers takes nothing, be it larger than any float.
        if math.isinf(z) and math.isfinite(x) and math.isfinite(y):
            assert result == z
        elif not all(map(math.isfinite, (x, y, z))):
            simple = x * y + z
            assert (math.isnan(result) and math.isnan(simple)) or result == simple
        else:
            exact = Fraction(x) * Fraction(y) + Fraction(z)
            assert result == round_exact(exact, kind, "rn"), (x, y, z)


def test_flushing_subnormals(evaluate):
    tiny = np.float32(1e-40)
    a = np.array([tiny, -tiny, 1e-30, 2.0**-126], "f4")
    b = np.array([1, 1, 1e-10, 0.5], "f4")
    got = run(evaluate, "mul.ftz.f32 %d, %a, %b;", "f32", a, b)
    assert got.tolist() == [0, 0, 0, 0] and np.signbit(got).tolist() == [False, True, False, False]
    kept = run(evaluate, "mul.f32 %d, %a, %b;", "f32", a, b)
    same(kept, a * b)


def test_saturation(evaluate):
    a = np.array([-1, -0.0, 0.25, 1, 7, np.nan, np.inf, -np.inf], "f4")
    got = run(evaluate, "add.sat.f32 %d, %a, 0f00000000;", "f32", a)
    same(got, np.array([0, 0, 0.25, 1, 1, 0, 1, 0], "f4"))


@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("name", ["min", "max"])
def test_minimum_and_maximum_drop_nan_and_order_zeros(evaluate, name, kind):
    a, b = grid(kind)
    ptx = f"f{8 * int(kind[1])}"
    got = run(evaluate, f"{name}.{ptx} %d, %a, %b;", ptx, a, b)
    for x, y, result in zip(a.tolist(), b.tolist(), got.tolist(), strict=True):
        if math.isnan(x) or math.isnan(y):
            expected = y if math.isnan(x) else x
        else:
            chosen = (min if name == "min" else max)((x, math.copysign(1, x)), (y, math.copysign(1, y)))
            expected = chosen[0]
        assert (math.isnan(result) and math.isnan(expected)) or (
            result == expected and math.copysign(1, result) == math.copysign(1, expected)
        )
    if kind == "f4":
        got = run(evaluate, f"{name}.NaN.f32 %d, %a, %b;", "f32", a, b)
        is_nan = np.isnan(a) | np.isnan(b)
        assert (np.isnan(got) == is_nan).all() and (got.view("u4")[is_nan] == 0x7FFFFFFF).all()


def test_comparisons_with_nan(evaluate):
    a = np.array([1, np.nan, 1, np.nan, -0.0], "f4")
    b = np.array([2, 2, np.nan, np.nan, 0.0], "f4")
    expected = {
        "eq": "00001",
        "ne": "10000",
        "lt": "10000",
        "le": "10001",
        "gt": "00000",
        "ge": "00001",
        "equ": "01111",
        "neu": "11110",
        "ltu": "11110",
        "leu": "11111",
        "gtu": "01110",
        "geu": "01111",
        "num": "10001",
        "nan": "01110",
    }
    for name, bits in expected.items():
        code = f"setp.{name}.f32 %p, %a, %b; selp.b32 %d, 1, 0, %p;"
        got = evaluate(code, "b32", ("b32", a.view("u4")), ("b32", b.view("u4")))
        assert "".join(map(str, got)) == bits, name


# Tolerances: PTX ISA 9.7.3, as maximal relative error, or absolute where the ISA says so.
APPROXIMATE = {
    "rcp.approx": (lambda x: 1 / x, 2.0**-23, 0),
    "sqrt.approx": (np.sqrt, 2.0**-23, 0),
    "rsqrt.approx": (lambda x: 1 / np.sqrt(x), 2.0**-22.9, 0),
    "ex2.approx": (np.exp2, 2.0**-22, 0),
    "lg2.approx": (np.log2, 2.0**-22, 2.0**-22),
    "sin.approx": (np.sin, 0, 2.0**-20.5),
    "cos.approx": (np.cos, 0, 2.0**-20.5),
    "tanh.approx": (np.tanh, 2.0**-11, 0),
}


@pytest.mark.parametrize("name", APPROXIMATE)
def test_approximations_are_within_their_tolerance(evaluate, name):
    function, relative, absolute = APPROXIMATE[name]
    x = RNG.uniform(0.001, 6.2, 500).astype("f4")
    got = run(evaluate, f"{name}.f32 %d, %a;", "f32", x)
    np.testing.assert_allclose(got, function(x.astype("f8")), rtol=relative, atol=absolute)


def test_approximations_at_the_limits(evaluate):
    x = np.array([0, -0.0, np.inf, -np.inf, np.nan], "f4")
    nan, inf = np.nan, np.inf
    expected = {
        "rcp.approx": [inf, -inf, 0, -0.0, nan],
        "sqrt.approx": [0, -0.0, inf, nan, nan],
        "rsqrt.approx": [inf, -inf, 0, nan, nan],
        "ex2.approx": [1, 1, inf, 0, nan],
        "lg2.approx": [-inf, -inf, inf, nan, nan],
        "sin.approx": [0, -0.0, nan, nan, nan],
        "cos.approx": [1, 1, nan, nan, nan],
        "tanh.approx": [0, -0.0, 1, -1, nan],
    }
    for name, values in expected.items():
        same(run(evaluate, f"{name}.f32 %d, %a;", "f32", x), np.array(values, "f4"))


def test_approximate_division_by_huge_numbers_is_zero(evaluate):
    a, b = np.array([3, -3, np.inf, 8], "f4"), np.array([2.0**127, 2.0**127, 2.0**127, 2], "f4")
    same(run(evaluate, "div.approx.f32 %d, %a, %b;", "f32", a, b), np.array([0, -0.0, np.nan, 4], "f4"))
    same(run(evaluate, "div.full.f32 %d, %a, %b;", "f32", a, b), a / b)


INTEGRAL = {"rni": round, "rzi": math.trunc, "rmi": math.floor, "rpi": math.ceil}


@pytest.mark.parametrize("mode", INTEGRAL)
@pytest.mark.parametrize("source", ["f2", "f4", "f8"])
@pytest.mark.parametrize("target", ["u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64"])
def test_float_to_integer_clamps(evaluate, source, target, mode):
    values = floats(source)
    bits, source_bits = int(target[1:]), 8 * int(source[1])
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if target[0] == "s" else (0, (1 << bits) - 1)
    code = f"cvt.{mode}.{target}.f{source_bits} %d, %a;"
    got = evaluate(code, "b64", (f"b{source_bits}", values.view(f"u{source_bits // 8}")))
    for value, result in zip(values.tolist(), got.tolist(), strict=True):
        if math.isnan(value):
            expected = 1 << (bits - 1) if source == "f8" or bits == 64 else 0
            if target[0] == "s" and expected:
                expected -= 1 << bits
        elif math.isinf(value):
            expected = high if value > 0 else low
        else:
            expected = max(low, min(high, INTEGRAL[mode](value)))
        assert result == expected % 2**64, value


@pytest.mark.parametrize("mode", ["rn", "rz", "rm", "rp"])
@pytest.mark.parametrize("source", ["u32", "s32", "u64", "s64"])
@pytest.mark.parametrize("target", ["f2", "f4", "f8"])
def test_integer_to_float_rounds_correctly(evaluate, source, target, mode):
    bits = int(source[1:])
    edges = [0, 1, 2**bits - 1, 2 ** (bits - 1), 2 ** (bits - 1) - 1, 2**24 + 1, 65519, 65520, 2**31 - 64]
    values = np.array(edges + [int(x) >> 3 for x in RNG.integers(0, 2**bits, 40, dtype=np.uint64)], f"u{bits // 8}")
    width = 8 * int(target[1])
    got = evaluate(f"cvt.{mode}.f{width}.{source} %d, %a;", f"b{width}", (f"b{bits}", values)).view(target)
    numbers = values.view(f"i{bits // 8}") if source[0] == "s" else values
    assert got.tolist() == [round_exact(Fraction(int(n)), target, mode) for n in numbers]


@pytest.mark.parametrize("mode", ["rn", "rz", "rm", "rp"])
@pytest.mark.parametrize("source, target", [("f8", "f4"), ("f8", "f2"), ("f4", "f2")])
def test_narrowing_rounds_correctly(evaluate, source, target, mode):
    values = np.concatenate([floats(source), (RNG.standard_normal(60) * 1e-6).astype(source)])
    bits, width = 8 * int(source[1]), 8 * int(target[1])
    code = f"cvt.{mode}.f{width}.f{bits} %d, %a;"
    got = evaluate(code, f"b{width}", (f"b{bits}", values.view(f"u{bits // 8}"))).view(target)
    for value, result in zip(values.tolist(), got.tolist(), strict=True):
        if not math.isfinite(value):
            assert result == value or (math.isnan(result) and math.isnan(value))
        else:
            assert result == round_exact(Fraction(value), target, mode)
            assert math.copysign(1, result) == math.copysign(1, value)


def test_rounding_to_integral_floats(evaluate):
    x = np.array([-2.5, -1.5, -0.5, -0.2, 0.5, 1.5, 2.5, 1e20, np.inf], "f4")
    for mode, function in {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}.items():
        same(run(evaluate, f"cvt.{mode}.f32.f32 %d, %a;", "f32", x), function(x))


def test_bfloat16(evaluate):
    x = np.array([1.0, 1 + 2.0**-8, 1 + 3 * 2.0**-8, -1 - 2.0**-9, 3.4e38, np.inf, np.nan, 1e-40], "f4")
    narrow = evaluate("cvt.rn.bf16.f32 %d, %a;", "b16", ("b32", x.view("u4")))
    assert [hex(b) for b in narrow] == [
        "0x3f80",
        "0x3f80",
        "0x3f82",
        "0xbf80",
        "0x7f80",
        "0x7f80",
        "0x7fff",
        "0x1",
    ]
    wide = evaluate("cvt.f32.bf16 %d, %a;", "b32", ("b16", narrow)).view("f4")
    same(wide, (narrow.astype("u4") << 16).view("f4"))


def test_sign_manipulation_keeps_nan_payloads_out_of_the_way(evaluate):
    x = floats("f4")
    same(run(evaluate, "neg.f32 %d, %a;", "f32", x), -x)
    same(run(evaluate, "abs.f32 %d, %a;", "f32", x), np.abs(x))
    y = x[::-1].copy()
    same(run(evaluate, "copysign.f32 %d, %a, %b;", "f32", x, y), np.copysign(y, x))


def test_a_half_that_is_nan_has_one_value_as_a_double(evaluate):
    halves = np.array([0x7C01, 0x7E00, 0xFC01, 0xFFFF], "u2")
    assert {hex(x) for x in evaluate("cvt.f64.f16 %d, %a;", "b64", ("b16", halves))} == {"0x7fffffffe0000000"}


def test_powers_of_two_of_bf16_are_never_subnormal(kernel):
    out = np.full(2, 0xFFFF, "u2")
    code = """ld.param.u64 %rd1, [out];
        mov.b16 %h1, 0xC2FD; ex2.approx.ftz.bf16 %h2, %h1; st.global.b16 [%rd1], %h2;
        mov.b16 %h1, 0xC2FC; ex2.approx.ftz.bf16 %h2, %h1; st.global.b16 [%rd1+2], %h2; ret;"""
    kernel(code, target="sm_90").launch("k", 1, 1, [out])
    assert [hex(x) for x in out] == ["0x0", "0x80"]
