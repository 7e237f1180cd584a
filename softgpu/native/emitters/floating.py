"""Floating-point arithmetic (PTX ISA 9.7.3 to 9.7.5).

A half is computed as a double: every sum, product, quotient, square root and fma of halves rounded first to double
and then to half is rounded correctly, because a double has more than twice the bits.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir
from llvmlite.ir import Value

from softgpu.instructions.table import Modifiers, Type
from softgpu.native.emitters.integer import constant, intrinsic
from softgpu.native.emitters.table import computes
from softgpu.native.translator import F32, F64, I32, I64, Translator


def flush(t: Translator, x: Value) -> Value:
    """`.ftz`: a subnormal float becomes a zero of the same sign."""
    if x.type is not F32:
        return x
    bits = t.b.bitcast(x, I32)
    small = t.b.icmp_unsigned("==", t.b.and_(bits, constant(I32, 0x7F800000)), constant(I32, 0))
    return t.b.bitcast(t.b.select(small, t.b.and_(bits, constant(I32, 0x80000000)), bits), F32)


def saturate(t: Translator, x: Value) -> Value:
    """`.sat`: clamp to [0, 1]; NaN and -0 become +0."""
    zero, one = ir.Constant(x.type, 0.0), ir.Constant(x.type, 1.0)
    capped = t.b.select(t.b.fcmp_ordered("<", x, one), x, one)
    return t.b.select(t.b.fcmp_ordered(">", x, zero), capped, zero)


def is_nan(t: Translator, x: Value) -> Value:
    return t.b.fcmp_unordered("uno", x, x)


def canonical(t: Translator, x: Value) -> Value:
    """The one NaN that f32 arithmetic gives: 0x7fffffff. (A half's is made where it is rounded.)"""
    if x.type is not F32:
        return x
    # On the bits, because to LLVM one NaN is as good as another.
    bits = t.b.bitcast(x, I32)
    nan = t.b.icmp_unsigned(">", t.b.and_(bits, constant(I32, 0x7FFFFFFF)), constant(I32, 0x7F800000))
    return t.b.bitcast(t.b.select(nan, constant(I32, 0x7FFFFFFF), bits), F32)


def finished(t: Translator, m: Modifiers, x: Value) -> Value:
    if m["ftz"]:
        x = flush(t, x)
    return saturate(t, x) if m["sat"] else canonical(t, x)


def floating(form: str, signature: str) -> Callable[[Callable[..., Value]], Callable]:
    """Enter an emitter of arithmetic that rounds, with `.ftz` and `.sat`."""

    def enter(build: Callable[..., Value]) -> Callable:
        def emit(t: Translator, m: Modifiers, *values: Value) -> Value:
            if m["ftz"]:
                values = tuple(flush(t, value) for value in values)
            return finished(t, m, build(t, *values))

        computes(form, signature)(emit)
        return build

    return enter


@floating("add rounding=rn? ftz? sat? type=f32", "T = T T")
@floating("add rounding=rn? type=f64", "T = T T")
@floating("add rounding=rn? sat? type=f16", "T = T T")
def _(t: Translator, a: Value, b: Value) -> Value:
    return t.b.fadd(a, b)


@floating("sub rounding=rn? ftz? sat? type=f32", "T = T T")
@floating("sub rounding=rn? type=f64", "T = T T")
@floating("sub rounding=rn? sat? type=f16", "T = T T")
def _(t: Translator, a: Value, b: Value) -> Value:
    return t.b.fsub(a, b)


@floating("mul rounding=rn? ftz? sat? type=f32", "T = T T")
@floating("mul rounding=rn? type=f64", "T = T T")
@floating("mul rounding=rn? sat? type=f16", "T = T T")
def _(t: Translator, a: Value, b: Value) -> Value:
    return t.b.fmul(a, b)


@floating("fma rounding=rn ftz? sat? type=f32", "T = T T T")
@floating("fma rounding=rn type=f64", "T = T T T")
@floating("fma rounding=rn sat? type=f16", "T = T T T")
@floating("mad rounding=rn ftz? sat? type=f32", "T = T T T")
@floating("mad rounding=rn type=f64", "T = T T T")
def _(t: Translator, a: Value, b: Value, c: Value) -> Value:
    return intrinsic(t, "fma", a, b, c)


@floating("div rounding=rn ftz? type=f32", "T = T T")
@floating("div rounding=rn type=f64", "T = T T")
@floating("div full ftz? type=f32", "T = T T")
def _(t: Translator, a: Value, b: Value) -> Value:
    return t.b.fdiv(a, b)


@floating("div approx ftz? type=f32", "T = T T")
def _(t: Translator, a: Value, b: Value) -> Value:
    # The reciprocal of so large a divisor is flushed to zero, and infinity times zero is NaN.
    size_a, size_b = intrinsic(t, "fabs", a), intrinsic(t, "fabs", b)
    infinity = ir.Constant(F32, float("inf"))
    huge = t.b.fcmp_ordered(">", size_b, ir.Constant(F32, 2.0**126))
    huge = t.b.and_(huge, t.b.fcmp_ordered("<", size_b, infinity))
    sign = t.b.and_(t.b.xor(t.b.bitcast(a, I32), t.b.bitcast(b, I32)), constant(I32, 0x80000000))
    nan = t.b.bitcast(constant(I32, 0x7FFFFFFF), F32)
    flushed = t.b.select(t.b.fcmp_ordered("<", size_a, infinity), t.b.bitcast(sign, F32), nan)
    return t.b.select(huge, flushed, t.b.fdiv(a, b))


@floating("rcp rounding=rn ftz? type=f32", "T = T")
@floating("rcp rounding=rn type=f64", "T = T")
@floating("rcp approx ftz? type=f32", "T = T")
def _(t: Translator, a: Value) -> Value:
    return t.b.fdiv(ir.Constant(a.type, 1.0), a)


@floating("sqrt rounding=rn ftz? type=f32", "T = T")
@floating("sqrt rounding=rn type=f64", "T = T")
@floating("sqrt approx ftz? type=f32", "T = T")
def _(t: Translator, a: Value) -> Value:
    return intrinsic(t, "sqrt", a)


def _approximation(form: str, function: Callable[[Translator, Value], Value]) -> None:
    """Computed in double and rounded once, well inside the tolerance."""

    def build(t: Translator, a: Value) -> Value:
        if a.type is F64:
            return function(t, a)
        return t.b.fptrunc(function(t, t.b.fpext(a, F64)), F32)

    floating(form, "T = T")(build)


def reciprocal_root(t: Translator, a: Value) -> Value:
    return t.b.fdiv(ir.Constant(F64, 1.0), intrinsic(t, "sqrt", a))


_approximation("rsqrt approx ftz? type=f32", reciprocal_root)
_approximation("rsqrt approx type=f64", reciprocal_root)
for _form, _name in {"sin": "sin", "cos": "cos", "lg2": "log2", "ex2": "exp2"}.items():
    _approximation(f"{_form} approx ftz? type=f32", lambda t, a, name=_name: intrinsic(t, name, a))  # type: ignore[misc]


def _flush_double(t: Translator, x: Value) -> Value:
    small = t.b.fcmp_ordered("<", intrinsic(t, "fabs", x), ir.Constant(F64, 2.0**-1022))
    return t.b.select(small, intrinsic(t, "copysign", ir.Constant(F64, 0.0), x), x)


@computes("rcp approx ftz type=f64", "T = T")
@computes("rsqrt approx ftz type=f64", "T = T")
def _(t: Translator, m: Modifiers, a: Value) -> Value:
    """A gross approximation that reads and writes the upper 32 bits alone."""
    upper = constant(I64, 0xFFFFFFFF00000000)
    source = _flush_double(t, t.b.bitcast(t.b.and_(t.b.bitcast(a, I64), upper), F64))
    exact = t.b.fdiv(ir.Constant(F64, 1.0), source)
    if t.operation.instruction.opcode == "rsqrt":
        exact = reciprocal_root(t, source)
    result = _flush_double(t, exact)
    nearest = t.b.and_(t.b.add(t.b.bitcast(result, I64), constant(I64, 0x80000000)), upper)
    nan = t.b.or_(is_nan(t, a), is_nan(t, result))
    return t.b.bitcast(t.b.select(nan, constant(I64, 0x7FFFFFFF00000000), nearest), F64)


@floating("tanh approx type=f32", "T = T")
def _(t: Translator, a: Value) -> Value:
    function = t.module.globals.get("tanh") or ir.Function(t.module, ir.FunctionType(F64, [F64]), "tanh")
    return t.b.fptrunc(t.b.call(function, [t.b.fpext(a, F64)]), F32)


# Sign, minimum and maximum, classes


def _bits(t: Translator, x: Value) -> Value:
    return t.b.bitcast(x, I32 if x.type is F32 else I64)


def _from_bits(t: Translator, bits: Value) -> Value:
    return t.b.bitcast(bits, F32 if bits.type is I32 else F64)


@computes("neg ftz? type=f32", "T = T")
@computes("neg type=f64", "T = T")
def _(t: Translator, m: Modifiers, a: Value) -> Value:
    return t.b.fneg(flush(t, a) if m["ftz"] else a)


@computes("abs ftz? type=f32", "T = T")
@computes("abs type=f64", "T = T")
def _(t: Translator, m: Modifiers, a: Value) -> Value:
    return intrinsic(t, "fabs", flush(t, a) if m["ftz"] else a)


@computes("min ftz? NaN? type=f32", "T = T T")
@computes("min NaN? type=f16", "T = T T")
@computes("min type=f64", "T = T T")
def _(t: Translator, m: Modifiers, a: Value, b: Value) -> Value:
    return extremum(t, m, a, b, "<")


@computes("max ftz? NaN? type=f32", "T = T T")
@computes("max NaN? type=f16", "T = T T")
@computes("max type=f64", "T = T T")
def _(t: Translator, m: Modifiers, a: Value, b: Value) -> Value:
    return extremum(t, m, a, b, ">")


def extremum(t: Translator, m: Modifiers, a: Value, b: Value, wins: str) -> Value:
    """-0 is smaller than +0; a NaN loses against a number unless NaNs propagate."""
    if m["ftz"]:
        a, b = flush(t, a), flush(t, b)
    # Equal values differ at most in the sign of zero.
    join = t.b.or_ if wins == "<" else t.b.and_
    ties = _from_bits(t, join(_bits(t, a), _bits(t, b)))
    a_nan, b_nan = is_nan(t, a), is_nan(t, b)
    best = t.b.select(t.b.or_(t.b.fcmp_ordered(wins, a, b), b_nan), a, b)
    best = t.b.select(t.b.fcmp_ordered("==", a, b), ties, best)
    combine = t.b.or_ if m["NaN"] else t.b.and_
    return t.b.select(combine(a_nan, b_nan), canonical_nan(t, a.type), best)


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
