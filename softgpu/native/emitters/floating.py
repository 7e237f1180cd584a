"""Floating-point arithmetic (PTX ISA 9.7.3 to 9.7.5).

Values of 16 bits are computed as doubles. Sums, products and fma of halves rounded first to double and then to half are
rounded correctly, because a double has more than twice the bits; sums of bf16 are rounded to odd first. Where another
direction is asked for, the processor rounds.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir
from llvmlite.ir import Value

from softgpu.instructions.table import TYPES, Modifiers, Type
from softgpu.native.emitters.integer import constant, intrinsic
from softgpu.native.emitters.table import computes, emits
from softgpu.native.rounding import add_to_odd
from softgpu.native.translator import F32, F64, I16, I32, I64, Translator

ROUNDING = "rounding=rn|rz|rm|rp"
F16 = "f16|f16x2"
BF16 = "bf16|bf16x2"


def flush(t: Translator, x: Value) -> Value:
    """`.ftz`: a subnormal float becomes a zero of the same sign."""
    if x.type is not F32:
        return x
    bits = t.b.bitcast(x, I32)
    small = t.b.icmp_unsigned("==", t.b.and_(bits, constant(I32, 0x7F800000)), constant(I32, 0))
    return t.b.bitcast(t.b.select(small, t.b.and_(bits, constant(I32, 0x80000000)), bits), F32)


def _flush_below(t: Translator, x: Value, smallest: float) -> Value:
    small = t.b.fcmp_ordered("<", intrinsic(t, "fabs", x), ir.Constant(F64, smallest))
    return t.b.select(small, intrinsic(t, "copysign", ir.Constant(F64, 0.0), x), x)


def flush_value(t: Translator, kind: Type, x: Value) -> Value:
    """`.ftz` for a value of any type that has it."""
    smallest = {"f16": 2.0**-14, "bf16": 2.0**-126}
    return _flush_below(t, x, smallest[kind.name]) if kind.name in smallest else flush(t, x)


def saturate(t: Translator, x: Value) -> Value:
    """`.sat`: clamp to [0, 1]; NaN and -0 become +0."""
    zero, one = ir.Constant(x.type, 0.0), ir.Constant(x.type, 1.0)
    capped = t.b.select(t.b.fcmp_ordered("<", x, one), x, one)
    return t.b.select(t.b.fcmp_ordered(">", x, zero), capped, zero)


def rectify(t: Translator, x: Value) -> Value:
    """`.relu`: negative numbers and -0 become +0; NaN stays."""
    zero = ir.Constant(x.type, 0.0)
    return t.b.select(t.b.fcmp_ordered("<=", x, zero), zero, x)


def is_nan(t: Translator, x: Value) -> Value:
    return t.b.fcmp_unordered("uno", x, x)


def canonical(t: Translator, x: Value) -> Value:
    """The one NaN that f32 arithmetic gives: 0x7fffffff. (That of 16 bits is made where they are rounded.)"""
    if x.type is not F32:
        return x
    # On the bits, because to LLVM one NaN is as good as another.
    bits = t.b.bitcast(x, I32)
    nan = t.b.icmp_unsigned(">", t.b.and_(bits, constant(I32, 0x7FFFFFFF)), constant(I32, 0x7F800000))
    return t.b.bitcast(t.b.select(nan, constant(I32, 0x7FFFFFFF), bits), F32)


def element_type(kind: Type) -> Type:
    """The type of a value, or of each half of an x2 type."""
    return TYPES[kind.name.removesuffix("x2")]


def halves(t: Translator, packed: Value) -> tuple[Value, Value]:
    """The lower and the upper 16 bits of a word."""
    return t.b.trunc(packed, I16), t.b.trunc(t.b.lshr(packed, constant(I32, 16)), I16)


def join(t: Translator, low: Value, high: Value) -> Value:
    return t.b.or_(t.b.zext(low, I32), t.b.shl(t.b.zext(high, I32), constant(I32, 16)))


def by_elements(t: Translator, kind: Type, build: Callable[..., Value], *values: Value) -> Value:
    """Apply a function on values to both halves of an x2 type."""
    if not kind.name.endswith("x2"):
        return build(*values)
    element = element_type(kind)
    pairs = [halves(t, value) for value in values]
    results = [build(*(t.from_bits(half, element) for half in column)) for column in zip(*pairs, strict=True)]
    return join(t, *(t.to_bits(result, element) for result in results))


def finished(t: Translator, m: Modifiers, kind: Type, x: Value) -> Value:
    if m["ftz"]:
        # Rounding may make a subnormal half a normal one.
        rounded = t.from_bits(t.to_bits(x, kind), kind) if kind.bits == 16 else x
        x = flush_value(t, kind, rounded)
    if m["relu"]:
        x = rectify(t, x)
    return saturate(t, x) if m["sat"] else canonical(t, x)


def floating(form: str, signature: str) -> Callable[[Callable[..., Value]], Callable]:
    """Enter an emitter of arithmetic on values, which gets the modifiers, and is rounded once: with `.ftz`, `.relu`
    and `.sat`, and for each half of an x2 type."""

    def enter(build: Callable[..., Value]) -> Callable:
        def emit(t: Translator, m: Modifiers, *packed: Value) -> Value:
            kind = element_type(m.type)

            def compute(*values: Value) -> Value:
                if m["ftz"]:
                    values = tuple(flush_value(t, kind, value) for value in values)
                return finished(t, m, kind, build(t, m, *values))

            return by_elements(t, m.type, compute, *packed)

        computes(form, signature)(emit)
        return build

    return enter


def _to_nearest(m: Modifiers) -> bool:
    """Whether to the nearest, as arithmetic does by itself."""
    return m["rounding"] in (None, "rn")


def _is_bfloat(m: Modifiers) -> bool:
    return m.type.name.startswith("bf16")


def add(t: Translator, m: Modifiers, a: Value, b: Value) -> Value:
    if _is_bfloat(m):
        # The exponents of two bf16 may be too far apart for a double to hold their sum.
        return add_to_odd(t.b, a, b)
    return t.b.fadd(a, b) if _to_nearest(m) else t.directed("fadd", str(m["rounding"]), a, b)


def subtract(t: Translator, m: Modifiers, a: Value, b: Value) -> Value:
    if _is_bfloat(m):
        return add_to_odd(t.b, a, t.b.fneg(b))
    return t.b.fsub(a, b) if _to_nearest(m) else t.directed("fsub", str(m["rounding"]), a, b)


def _arithmetic(opcode: str, build: Callable[..., Value]) -> None:
    for form in (
        f"{ROUNDING}? ftz? sat? type=f32",
        f"{ROUNDING}? type=f64",
        f"rounding=rn? ftz? sat? type={F16}",
        f"rounding=rn? type={BF16}",
    ):
        floating(f"{opcode} {form}", "T = T T")(build)


def multiply(t: Translator, m: Modifiers, a: Value, b: Value) -> Value:
    return t.b.fmul(a, b) if _to_nearest(m) else t.directed("fmul", str(m["rounding"]), a, b)


_arithmetic("add", add)
_arithmetic("sub", subtract)
_arithmetic("mul", multiply)


@floating(f"fma {ROUNDING} ftz? sat? type=f32", "T = T T T")
@floating(f"fma {ROUNDING} type=f64", "T = T T T")
@floating(f"fma rounding=rn ftz? sat? type={F16}", "T = T T T")
@floating(f"fma rounding=rn ftz? relu type={F16}", "T = T T T")
@floating(f"fma rounding=rn relu? type={BF16}", "T = T T T")
@floating(f"mad {ROUNDING} ftz? sat? type=f32", "T = T T T")
@floating(f"mad {ROUNDING} type=f64", "T = T T T")
def _(t: Translator, m: Modifiers, a: Value, b: Value, c: Value) -> Value:
    if _is_bfloat(m):
        return add_to_odd(t.b, t.b.fmul(a, b), c)
    result = intrinsic(t, "fma", a, b, c) if _to_nearest(m) else t.directed("fma", str(m["rounding"]), a, b, c)
    return _with_first_nan(t, result, a, b, c) if m.type.name == "f64" else result


def quiet(t: Translator, nan: Value) -> Value:
    return t.b.bitcast(t.b.or_(t.b.bitcast(nan, I64), constant(I64, 1 << 51)), F64)


def _with_first_nan(t: Translator, result: Value, a: Value, b: Value, c: Value) -> Value:
    """The result of an fma of doubles, which keep their NaNs: of several, the first. Processors differ in this."""
    product = t.b.fmul(a, b)
    nan = quiet(t, c)
    for x in (product, b, a):
        nan = t.b.select(is_nan(t, x), quiet(t, x), nan)
    return t.b.select(t.b.fcmp_unordered("uno", product, c), nan, result)


@floating(f"div {ROUNDING} ftz? type=f32", "T = T T")
@floating(f"div {ROUNDING} type=f64", "T = T T")
@floating("div full ftz? type=f32", "T = T T")
def divide(t: Translator, m: Modifiers, a: Value, b: Value) -> Value:
    return t.b.fdiv(a, b) if _to_nearest(m) else t.directed("fdiv", str(m["rounding"]), a, b)


@floating("div approx ftz? type=f32", "T = T T")
def _(t: Translator, m: Modifiers, a: Value, b: Value) -> Value:
    # The reciprocal of so large a divisor is flushed to zero, and infinity times zero is NaN.
    size_a, size_b = intrinsic(t, "fabs", a), intrinsic(t, "fabs", b)
    infinity = ir.Constant(F32, float("inf"))
    huge = t.b.fcmp_ordered(">", size_b, ir.Constant(F32, 2.0**126))
    huge = t.b.and_(huge, t.b.fcmp_ordered("<", size_b, infinity))
    sign = t.b.and_(t.b.xor(t.b.bitcast(a, I32), t.b.bitcast(b, I32)), constant(I32, 0x80000000))
    nan = t.b.bitcast(constant(I32, 0x7FFFFFFF), F32)
    flushed = t.b.select(t.b.fcmp_ordered("<", size_a, infinity), t.b.bitcast(sign, F32), nan)
    return t.b.select(huge, flushed, t.b.fdiv(a, b))


@floating(f"rcp {ROUNDING} ftz? type=f32", "T = T")
@floating(f"rcp {ROUNDING} type=f64", "T = T")
@floating("rcp approx ftz? type=f32", "T = T")
def _(t: Translator, m: Modifiers, a: Value) -> Value:
    return divide(t, m, ir.Constant(a.type, 1.0), a)


@floating(f"sqrt {ROUNDING} ftz? type=f32", "T = T")
@floating(f"sqrt {ROUNDING} type=f64", "T = T")
@floating("sqrt approx ftz? type=f32", "T = T")
def _(t: Translator, m: Modifiers, a: Value) -> Value:
    return intrinsic(t, "sqrt", a) if _to_nearest(m) else t.directed("sqrt", str(m["rounding"]), a)


def _approximation(form: str, function: Callable[[Translator, Value], Value]) -> None:
    """Computed in double and rounded once, well inside the tolerance."""

    def build(t: Translator, m: Modifiers, a: Value) -> Value:
        if a.type is F64:
            return function(t, a)
        return t.b.fptrunc(function(t, t.b.fpext(a, F64)), F32)

    floating(form, "T = T")(build)


def reciprocal_root(t: Translator, a: Value) -> Value:
    return t.b.fdiv(ir.Constant(F64, 1.0), intrinsic(t, "sqrt", a))


def hyperbolic_tangent(t: Translator, a: Value) -> Value:
    function = t.module.globals.get("tanh") or ir.Function(t.module, ir.FunctionType(F64, [F64]), "tanh")
    return t.b.call(function, [a])


def power_of_two(t: Translator, a: Value) -> Value:
    return intrinsic(t, "exp2", a)


_approximation("rsqrt approx ftz? type=f32", reciprocal_root)
_approximation("rsqrt approx type=f64", reciprocal_root)
for _form, _name in {"sin": "sin", "cos": "cos", "lg2": "log2"}.items():
    _approximation(f"{_form} approx ftz? type=f32", lambda t, a, name=_name: intrinsic(t, name, a))  # type: ignore[misc]
_approximation("ex2 approx ftz? type=f32", power_of_two)
_approximation(f"ex2 approx type={F16}", power_of_two)
_approximation(f"ex2 approx ftz type={BF16}", power_of_two)
_approximation(f"tanh approx type=f32|{F16}", hyperbolic_tangent)
_approximation(f"tanh approx type={BF16}", hyperbolic_tangent)


@computes("rcp approx ftz type=f64", "T = T")
@computes("rsqrt approx ftz type=f64", "T = T")
def _(t: Translator, m: Modifiers, a: Value) -> Value:
    """A gross approximation that reads and writes the upper 32 bits alone."""
    upper = constant(I64, 0xFFFFFFFF00000000)
    source = _flush_below(t, t.b.bitcast(t.b.and_(t.b.bitcast(a, I64), upper), F64), 2.0**-1022)
    exact = t.b.fdiv(ir.Constant(F64, 1.0), source)
    if t.operation.instruction.opcode == "rsqrt":
        exact = reciprocal_root(t, source)
    result = _flush_below(t, exact, 2.0**-1022)
    nearest = t.b.and_(t.b.add(t.b.bitcast(result, I64), constant(I64, 0x80000000)), upper)
    nan = t.b.or_(is_nan(t, a), is_nan(t, result))
    return t.b.bitcast(t.b.select(nan, constant(I64, 0x7FFFFFFF00000000), nearest), F64)


# Sign, minimum and maximum, classes


def _bits(t: Translator, x: Value) -> Value:
    return t.b.bitcast(x, I32 if x.type is F32 else I64)


def _from_bits(t: Translator, bits: Value) -> Value:
    return t.b.bitcast(bits, F32 if bits.type is I32 else F64)


def _sign(opcode: str, mask: Callable[[Translator, Value, Value], Value]) -> None:
    """An instruction on the sign alone, that of NaNs included: `mask(t, bits, sign)`."""

    def of_half(t: Translator, m: Modifiers, bits: Value) -> Value:
        if m["ftz"]:
            small = t.b.icmp_unsigned("==", t.b.and_(bits, constant(I16, 0x7C00)), constant(I16, 0))
            bits = t.b.select(small, t.b.and_(bits, constant(I16, 0x8000)), bits)
        return mask(t, bits, constant(I16, 0x8000))

    def emit(t: Translator, m: Modifiers) -> None:
        destination, source = t.operands()
        bits = t.read(source, TYPES[f"b{m.type.bits}"])
        if m.type.name.endswith("x2"):
            bits = join(t, *(of_half(t, m, half) for half in halves(t, bits)))
        elif m.type.bits == 16:
            bits = of_half(t, m, bits)
        else:
            if m["ftz"]:
                bits = t.b.bitcast(flush(t, t.b.bitcast(bits, F32)), I32)
            bits = mask(t, bits, constant(bits, 1 << m.type.bits - 1))
        t.write(destination, TYPES[f"b{m.type.bits}"], bits)

    for form in (f"ftz? type=f32|{F16}", "type=f64", f"type={BF16}"):
        emits(f"{opcode} {form}")(emit)


_sign("neg", lambda t, bits, sign: t.b.xor(bits, sign))
_sign("abs", lambda t, bits, sign: t.b.and_(bits, t.b.not_(sign)))


def _extremum(opcode: str, wins: str) -> None:
    def build(t: Translator, m: Modifiers, a: Value, b: Value) -> Value:
        if not m["xorsign"]:
            return extremum(t, a, b, wins, bool(m["NaN"]))
        sign = t.b.xor(_bits(t, a), _bits(t, b))
        size = extremum(t, intrinsic(t, "fabs", a), intrinsic(t, "fabs", b), wins, bool(m["NaN"]))
        top = constant(sign, 1 << sign.type.width - 1)
        return _from_bits(t, t.b.xor(_bits(t, size), t.b.and_(sign, top)))

    for form in (
        f"ftz? NaN? type=f32|{F16}",
        "type=f64",
        f"NaN? type={BF16}",
        f"ftz? NaN? xorsign abs type=f32|{F16}",
        f"NaN? xorsign abs type={BF16}",
    ):
        floating(f"{opcode} {form}", "T = T T")(build)


_extremum("min", "<")
_extremum("max", ">")


def extremum(t: Translator, a: Value, b: Value, wins: str, propagates: bool) -> Value:
    """-0 is smaller than +0; a NaN loses against a number unless NaNs propagate."""
    # Equal values differ at most in the sign of zero.
    combined = t.b.or_ if wins == "<" else t.b.and_
    ties = _from_bits(t, combined(_bits(t, a), _bits(t, b)))
    a_nan, b_nan = is_nan(t, a), is_nan(t, b)
    best = t.b.select(t.b.or_(t.b.fcmp_ordered(wins, a, b), b_nan), a, b)
    best = t.b.select(t.b.fcmp_ordered("==", a, b), ties, best)
    either = t.b.or_ if propagates else t.b.and_
    return t.b.select(either(a_nan, b_nan), canonical_nan(t, a.type), best)


def canonical_nan(t: Translator, kind: ir.Type) -> Value:
    if kind is F32:
        return t.b.bitcast(constant(I32, 0x7FFFFFFF), F32)
    return t.b.bitcast(constant(I64, 0x7FF8000000000000), F64)


@computes("copysign type=f32|f64", "T = T T")
def _(t: Translator, m: Modifiers, sign: Value, value: Value) -> Value:
    return intrinsic(t, "copysign", value, sign)


@computes("testp test=finite|infinite|number|notanumber|normal|subnormal type=f32|f64", "pred = T")
def _(t: Translator, m: Modifiers, a: Value) -> Value:
    size = intrinsic(t, "fabs", a)
    infinity, zero, tiny = (ir.Constant(a.type, number) for number in (float("inf"), 0.0, _tiny(m.type)))
    match m["test"]:
        case "finite":
            return t.b.fcmp_ordered("<", size, infinity)
        case "infinite":
            return t.b.fcmp_ordered("==", size, infinity)
        case "number":
            return t.b.fcmp_ordered("ord", a, a)
        case "notanumber":
            return is_nan(t, a)
        case "normal":
            return t.b.and_(t.b.fcmp_ordered(">=", size, tiny), t.b.fcmp_ordered("<", size, infinity))
    return t.b.and_(t.b.fcmp_ordered(">", size, zero), t.b.fcmp_ordered("<", size, tiny))


def _tiny(kind: Type) -> float:
    return 2.0**-126 if kind.bits == 32 else 2.0**-1022
