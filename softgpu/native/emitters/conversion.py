"""Conversion between types: cvt (PTX ISA 9.7.9.22)."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir
from llvmlite.ir import Value

from softgpu.instructions.table import TYPES, Modifiers, Type
from softgpu.native.emitters.floating import canonical, flush, is_nan, saturate
from softgpu.native.emitters.integer import clamp, constant, intrinsic
from softgpu.native.emitters.table import computes, emits
from softgpu.native.translator import F32, F64, I16, I32, Translator, llvm_type

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


@_conversion(f"cvt rounding=rn ftz? sat? type=f32 source={CONVERTED_INTEGERS}")
@_conversion(f"cvt rounding=rn sat? type=f16|f64 source={CONVERTED_INTEGERS}")
def _(t: Translator, m: Modifiers, a: Value) -> Value:
    kind = llvm_type(m.type)
    result = t.b.sitofp(a, kind) if _is_signed(m.source) else t.b.uitofp(a, kind)
    return saturate(t, result) if m["sat"] else result


@_conversion(f"cvt {INTEGRAL} ftz? sat? type={CONVERTED_INTEGERS} source=f32")
@_conversion(f"cvt {INTEGRAL} sat? type={CONVERTED_INTEGERS} source=f16|f64")
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
@_conversion("cvt rounding=rn ftz? sat? type=f32 source=f64")
@_conversion("cvt rounding=rn ftz? sat? type=f16 source=f32")
@_conversion("cvt rounding=rn sat? type=f16 source=f64")
@_conversion("cvt rounding=rn type=f16 source=f32")
@_conversion(f"cvt {INTEGRAL} ftz? sat? type=f32 source=f32")
@_conversion(f"cvt {INTEGRAL} sat? type=f64 source=f64")
@_conversion(f"cvt {INTEGRAL} sat? type=f16 source=f16")
def _(t: Translator, m: Modifiers, a: Value) -> Value:
    if m["ftz"] and m.source.name == "f32":
        a = flush(t, a)
    if m["integral"]:
        a = intrinsic(t, "copysign", intrinsic(t, _INTEGRAL[str(m["integral"])], a), a)
    kind = llvm_type(m.type)
    if m.source.name == "f16" and m.type.name == "f64":
        a = canonical(t, t.b.fptrunc(a, F32))  # By way of f32, which has one NaN.
    if a.type is F32 and kind is F64:
        a = t.b.fpext(a, F64)
    elif a.type is F64 and kind is F32:
        a = t.b.fptrunc(a, F32)
    if m["ftz"] and m.type.name == "f32":
        a = flush(t, a)
    return saturate(t, a) if m["sat"] else canonical(t, a)


@_conversion("cvt type=f32 source=bf16")
def _(t: Translator, m: Modifiers, a: Value) -> Value:
    return t.b.bitcast(t.b.shl(t.b.zext(a, I32), constant(I32, 16)), F32)


def to_bfloat(t: Translator, a: Value, mode: str) -> Value:
    """A float rounded to the 16 bits of a bf16; NaN becomes 0x7fff."""
    bits = t.b.bitcast(a, I32)
    upper = t.b.lshr(bits, constant(I32, 16))
    if mode == "rn":
        odd = t.b.and_(upper, constant(I32, 1))
        upper = t.b.lshr(t.b.add(bits, t.b.add(odd, constant(I32, 0x7FFF))), constant(I32, 16))
    return t.b.trunc(t.b.select(is_nan(t, a), constant(I32, 0x7FFF), upper), I16)


@emits("cvt rounding=rn|rz type=bf16 source=f32")
def _(t: Translator, m: Modifiers) -> None:
    destination, source = t.operands()
    t.write(destination, TYPES["b16"], to_bfloat(t, t.read(source, TYPES["f32"]), str(m["rounding"])))


def _joined(t: Translator, high: Value, low: Value) -> Value:
    return t.b.or_(t.b.shl(t.b.zext(high, I32), constant(I32, 16)), t.b.zext(low, I32))


@computes("cvt rounding=rn f16x2 source=f32", "b32 = f32 f32")
def _(t: Translator, m: Modifiers, high: Value, low: Value) -> Value:
    halves = [t.to_bits(t.b.fpext(x, F64), TYPES["f16"]) for x in (high, low)]
    return _joined(t, *halves)


@computes("cvt rounding=rn|rz bf16x2 source=f32", "b32 = f32 f32")
def _(t: Translator, m: Modifiers, high: Value, low: Value) -> Value:
    return _joined(t, *(to_bfloat(t, x, str(m["rounding"])) for x in (high, low)))
