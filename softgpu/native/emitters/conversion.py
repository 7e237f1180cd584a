"""Conversion between types: cvt (PTX ISA 9.7.9.22)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from llvmlite import ir
from llvmlite.ir import Value

from softgpu.floats import FORMATS, eight_bit_values
from softgpu.instructions.table import TYPES, Modifiers, Type
from softgpu.native.emitters.floating import (
    ROUNDING,
    canonical,
    element_type,
    flush,
    halves,
    is_nan,
    join,
    quiet,
    rectify,
    saturate,
)
from softgpu.native.emitters.integer import clamp, constant, intrinsic
from softgpu.native.emitters.table import computes, emits
from softgpu.native.rounding import add_to_odd, double_to_bfloat, shorten, step
from softgpu.native.translator import F32, F64, I16, I32, I64, Translator, llvm_type

CONVERTED_INTEGERS = "u8|s8|u16|s16|u32|s32|u64|s64"
INTEGRAL = "integral=rni|rzi|rmi|rpi"
_INTEGRAL = {"rni": "roundeven", "rzi": "trunc", "rmi": "floor", "rpi": "ceil"}


def _conversion(form: str) -> Callable[[Callable[..., Value]], Callable]:
    def enter(build: Callable[..., Value]) -> Callable:
        def emit(t: Translator, m: Modifiers) -> None:
            destination, source = t.operands()
            t.write(destination, m.type, build(t, m, t.read(source, m.source)))

        emits(form)(emit)
        return build

    return enter


def _is_signed(kind: Type) -> bool:
    return kind.name[0] == "s"


def _fit(t: Translator, value: Value, kind: Type, signed: bool) -> Value:
    """An integer in the width of a type."""
    wide = ir.IntType(kind.bits)
    if value.type.width >= kind.bits:
        return t.resize(value, wide)
    return t.b.sext(value, wide) if signed else t.b.zext(value, wide)


@_conversion(f"cvt sat? type={CONVERTED_INTEGERS} source={CONVERTED_INTEGERS}")
def _(t: Translator, m: Modifiers, a: Value) -> Value:
    signed = _is_signed(m.source)
    if not m["sat"]:
        return _fit(t, a, m.type, signed)
    # In a width that holds both ranges.
    wide = _fit(t, a, Type("s128", 128, m.type.dtype), signed)
    bits = m.type.bits
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if _is_signed(m.type) else (0, (1 << bits) - 1)
    return t.resize(clamp(t, wide, low, high), ir.IntType(bits))


@_conversion(f"cvt {ROUNDING} ftz? sat? type=f32 source={CONVERTED_INTEGERS}")
@_conversion(f"cvt {ROUNDING} sat? type=f16|f64 source={CONVERTED_INTEGERS}")
@_conversion(f"cvt {ROUNDING} type=bf16 source={CONVERTED_INTEGERS}")
def _(t: Translator, m: Modifiers, a: Value) -> Value:
    mode, convert = str(m["rounding"]), t.b.sitofp if _is_signed(m.source) else t.b.uitofp
    if mode == "rn" and m.type.name != "bf16":
        result = convert(a, llvm_type(m.type))
    elif m.source.bits < 64:
        result = _rounded(t, m.type, convert(a, F64), mode)
    else:
        # Both halves are exact, so their sum is rounded once.
        half = constant(a, 32)
        upper = t.b.ashr(a, half) if _is_signed(m.source) else t.b.lshr(a, half)
        high = t.b.fmul(t.b.sitofp(upper, F64), ir.Constant(F64, 2.0**32))
        low = t.b.sitofp(t.b.and_(a, constant(a, 0xFFFFFFFF)), F64)
        if m.type.name == "f64":
            result = t.directed("fadd", mode, high, low)
        else:
            result = _rounded(t, m.type, add_to_odd(t.b, high, low), mode)
    return saturate(t, result) if m["sat"] else result


def _rounded(t: Translator, kind: Type, x: Value, mode: str) -> Value:
    """A double as a value of a type, rounded in a mode."""
    if kind.name == "f64":
        return x
    if kind.name == "f32":
        return t.b.fptrunc(x, F32) if mode == "rn" else t.directed("fptrunc", mode, x)
    if kind.name == "bf16":
        return t.from_bits(double_to_bfloat(t.b, x, mode), kind)
    nearest = t.to_bits(x, kind)
    if mode != "rn":
        nearest = step(t.b, nearest, t.from_bits(nearest, kind), x, mode)
    return t.from_bits(nearest, kind)


@_conversion(f"cvt {INTEGRAL} ftz? sat? type={CONVERTED_INTEGERS} source=f32")
@_conversion(f"cvt {INTEGRAL} sat? type={CONVERTED_INTEGERS} source=f16|f64")
@_conversion(f"cvt {INTEGRAL} type={CONVERTED_INTEGERS} source=bf16")
def _(t: Translator, m: Modifiers, a: Value) -> Value:
    """Clamps. NaN becomes 0, or the top bit alone from f64 or to 64 bits."""
    if m["ftz"]:
        a = flush(t, a)
    bits = m.type.bits
    rounded = intrinsic(t, _INTEGRAL[str(m["integral"])], a)
    result = _to_integer(t, rounded, bits, _is_signed(m.type))
    if m.source.bits != 64 and bits != 64:
        return result
    return t.b.select(is_nan(t, a), constant(result, 1 << bits - 1), result)


def _to_integer(t: Translator, value: Value, bits: int, signed: bool) -> Value:
    kind = ir.IntType(bits)
    name = f"llvm.fpto{'si' if signed else 'ui'}.sat.i{bits}.{'f32' if value.type is F32 else 'f64'}"
    function = t.module.globals.get(name)
    if function is None:
        function = ir.Function(t.module, ir.FunctionType(kind, [value.type]), name)
    return t.b.call(function, [value])


@_conversion("cvt ftz? sat? type=f32 source=f16|f32")
@_conversion("cvt ftz? sat? type=f64 source=f32")
@_conversion("cvt sat? type=f64 source=f16|f64")
@_conversion("cvt sat? type=f16 source=f16")
@_conversion("cvt type=bf16 source=bf16")
@_conversion("cvt type=f64 source=bf16")
@_conversion(f"cvt {ROUNDING} ftz? sat? type=f32 source=f64")
@_conversion(f"cvt {ROUNDING} ftz? sat? type=f16 source=f32")
@_conversion(f"cvt {ROUNDING} sat? type=f16 source=f64")
@_conversion(f"cvt {ROUNDING} type=f16 source=bf16")
@_conversion(f"cvt {ROUNDING} type=bf16 source=f16|f64")
@_conversion("cvt ftz type=f32 source=bf16")
@_conversion(f"cvt {ROUNDING} ftz? type=bf16 source=f32")
@_conversion(f"cvt {INTEGRAL} ftz? sat? type=f32 source=f32")
@_conversion(f"cvt {INTEGRAL} sat? type=f64 source=f64")
@_conversion(f"cvt {INTEGRAL} sat? type=f16 source=f16")
@_conversion(f"cvt {INTEGRAL} type=bf16 source=bf16")
def _(t: Translator, m: Modifiers, a: Value) -> Value:
    if m["ftz"] and m.source.name == "f32":
        a = flush(t, a)
    if m["integral"]:
        rounded = intrinsic(t, "copysign", intrinsic(t, _INTEGRAL[str(m["integral"])], a), a)
        # Not every processor's rounding quiets a NaN.
        a = t.b.select(is_nan(t, a), quiet(t, a), rounded) if m.type.name == "f64" else rounded
    if m.source.name == "f16" and m.type.name == "f64":
        a = canonical(t, t.b.fptrunc(a, F32))  # By way of f32, which has one NaN.
    if a.type is F32 and m.type.name != "f32":
        a = t.b.fpext(a, F64)
    if a.type is F64:
        a = _rounded(t, m.type, a, m["rounding"] or "rn")
    if m["ftz"] and m.type.name == "f32":
        a = flush(t, a)
    return saturate(t, a) if m["sat"] else canonical(t, a)


@emits("cvt type=f32 source=bf16")
def _(t: Translator, m: Modifiers) -> None:
    # The bits are shifted, whatever they mean.
    destination, source = t.operands()
    bits = t.b.shl(t.b.zext(t.read(source, TYPES["b16"]), I32), constant(I32, 16))
    t.write(destination, TYPES["b32"], bits)


# To the formats of tensor cores


def _narrowed(t: Translator, m: Modifiers, kind: Type, x: Value) -> Value:
    """The bits of a float rounded to a narrow format, then with `.relu` and `.satfinite`."""
    mode = str(m["rounding"])
    if kind.name == "tf32":
        # A bf16 and a tf32 are floats with fewer bits.
        result = t.b.bitcast(shorten(t.b, t.b.bitcast(x, I32), 13, mode), F32)
    else:
        result = _rounded(t, kind, t.b.fpext(x, F64), mode)
    if m["relu"]:
        result = rectify(t, result)
    if m["satfinite"]:
        largest = ir.Constant(result.type, FORMATS[kind.name].largest)
        size = intrinsic(t, "fabs", result)
        capped = intrinsic(t, "copysign", largest, result)
        result = t.b.select(t.b.fcmp_ordered(">", size, largest), capped, result)
    return t.to_bits(canonical(t, result), TYPES["f32"] if kind.name == "tf32" else kind)


@emits("cvt rounding=rn|rz relu? satfinite? type=f16|bf16 source=f32")
@emits("cvt rounding=rna satfinite? type=tf32 source=f32")
@emits("cvt rounding=rn|rz relu? type=tf32 source=f32")
def _(t: Translator, m: Modifiers) -> None:
    destination, source = t.operands()
    bits = _narrowed(t, m, m.type, t.read(source, TYPES["f32"]))
    t.write(destination, TYPES[f"b{m.type.bits}"], bits)


@computes("cvt rounding=rn|rz relu? satfinite? type=f16x2|bf16x2 source=f32", "T = S S")
def _(t: Translator, m: Modifiers, high: Value, low: Value) -> Value:
    kind = element_type(m.type)
    return join(t, _narrowed(t, m, kind, low), _narrowed(t, m, kind, high))


# Eight-bit floats: their codes are ordered as their sizes are


def _to_eight_bits(t: Translator, m: Modifiers, x: Value) -> Value:
    """The code of a double, to nearest even; out of range becomes the largest number."""
    description = FORMATS[str(m["target"])[:4]]
    if m["relu"]:
        x = rectify(t, x)
    bits, mantissa = t.b.bitcast(x, I64), description.precision - 1
    size = t.b.and_(bits, constant(I64, (1 << 63) - 1))
    dropped = 52 - mantissa
    odd = t.b.and_(t.b.lshr(size, constant(I64, dropped)), constant(I64, 1))
    rounded = t.b.lshr(t.b.add(size, t.b.add(odd, constant(I64, (1 << dropped - 1) - 1))), constant(I64, dropped))
    # The exponent of the smallest normal number has the field 1, and in a double 1023 more.
    normal = t.b.sub(rounded, constant(I64, (description.smallest + mantissa - 1 + 1023) << mantissa))
    units = t.b.fmul(intrinsic(t, "fabs", x), ir.Constant(F64, 2.0**-description.smallest))
    tiny = ir.Constant(F64, 2.0**mantissa)
    subnormal = t.b.fptosi(intrinsic(t, "roundeven", intrinsic(t, "minnum", units, tiny)), I64)
    code = t.b.select(t.b.fcmp_ordered("<", units, tiny), subnormal, normal)
    codes = eight_bit_values(description.name)[:128]
    largest = int(np.flatnonzero(codes == np.float32(description.largest))[0])
    code = intrinsic(t, "umin", code, constant(I64, largest))
    code = t.b.or_(code, t.b.and_(t.b.lshr(bits, constant(I64, 56)), constant(I64, 0x80)))
    return t.b.trunc(t.b.select(is_nan(t, x), constant(I64, description.nan), code), I16)


def _joined_bytes(t: Translator, low: Value, high: Value) -> Value:
    return t.b.or_(t.b.shl(high, constant(I16, 8)), low)


@computes("cvt rounding=rn satfinite relu? target=e4m3x2|e5m2x2 source=f32", "b16 = S S")
def _(t: Translator, m: Modifiers, high: Value, low: Value) -> Value:
    return _joined_bytes(t, *(_to_eight_bits(t, m, t.b.fpext(x, F64)) for x in (low, high)))


@computes("cvt rounding=rn satfinite relu? target=e4m3x2|e5m2x2 source=f16x2", "b16 = S")
def _(t: Translator, m: Modifiers, pair: Value) -> Value:
    return _joined_bytes(t, *(_to_eight_bits(t, m, t.from_bits(x, TYPES["f16"])) for x in halves(t, pair)))


@computes("cvt rounding=rn relu? type=f16x2 packed=e4m3x2|e5m2x2", "T = b16")
def _(t: Translator, m: Modifiers, pair: Value) -> Value:
    """Both are halves without the last bits, but for the bias of e4m3's exponent."""
    shift, scale = (7, 2.0**8) if m["packed"] == "e4m3x2" else (8, 1.0)

    def convert(code: Value) -> Value:
        size = t.b.and_(code, constant(I16, 0x7F))
        sign = t.b.shl(t.b.and_(code, constant(I16, 0x80)), constant(I16, 8))
        bits = t.b.or_(t.b.shl(size, constant(I16, shift)), sign)
        value = t.b.fmul(t.from_bits(bits, TYPES["f16"]), ir.Constant(F64, scale))
        if m["packed"] == "e4m3x2":
            nan = t.b.icmp_unsigned("==", size, constant(I16, 0x7F))
            value = t.b.select(nan, ir.Constant(F64, float("nan")), value)
        return t.to_bits(rectify(t, value) if m["relu"] else value, TYPES["f16"])

    return join(t, convert(t.b.and_(pair, constant(I16, 0xFF))), convert(t.b.lshr(pair, constant(I16, 8))))


@computes("cvt pack sat convert=u16|s16 s32", "b32 = s32 s32")
@computes("cvt pack sat convert=u2|s2|u4|s4|u8|s8 s32 b32", "b32 = s32 s32 b32")
def _(t: Translator, m: Modifiers, high: Value, low: Value, rest: Value | None = None) -> Value:
    kind, bits = str(m["convert"])[0], int(str(m["convert"])[1:])
    least, most = (-(1 << bits - 1), (1 << bits - 1) - 1) if kind == "s" else (0, (1 << bits) - 1)
    high, low = (t.b.and_(clamp(t, x, least, most), constant(I32, (1 << bits) - 1)) for x in (high, low))
    packed = t.b.or_(t.b.shl(high, constant(I32, bits)), low)
    return packed if rest is None else t.b.or_(packed, t.b.shl(rest, constant(I32, 2 * bits)))
