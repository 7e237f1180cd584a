"""Conversion between types: cvt (PTX ISA 9.7.9.22)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from softgpu import arithmetic as ar
from softgpu import floats as fl
from softgpu.instructions.decoder import Decoder
from softgpu.instructions.table import TYPES, Compute, Modifiers, computes, instruction
from softgpu.program import Execute

ROUNDING = "rounding=rn|rz|rm|rp"
INTEGRAL = "integral=rni|rzi|rmi|rpi"
CONVERTED_INTEGERS = "u8|s8|u16|s16|u32|s32|u64|s64"


def _conversion(form: str, since: int = 0) -> Callable[[Callable[[Modifiers], Compute]], Callable]:
    """Enter a form of cvt, whose registers may be wider than its types, but for those of bf16 and tf32."""

    def enter(function: Callable[[Modifiers], Compute]) -> Callable:
        def decode(decoder: Decoder, m: Modifiers) -> Execute:
            destination, source = decoder.operands(2)
            convert = function(m)
            widths_may_differ = not {"bf16", "tf32"} & {m.type.name, m.source.name}
            read = decoder.read(source, m.source, widths_may_differ)
            write = decoder.write(destination, m.type, widths_may_differ)
            return lambda chunk, lanes: write(chunk, lanes, convert(read(chunk, lanes)))

        instruction(form, since, "T = S")(decode)
        return function

    return enter


# From and to integers


@_conversion(f"cvt type={CONVERTED_INTEGERS} source={CONVERTED_INTEGERS}")
def _(m: Modifiers) -> Compute:
    return lambda a: a.astype(m.type.dtype)


def _saturating(m: Modifiers) -> Compute:
    return lambda a: ar.saturate_integer(a, m.type.dtype)


for _target in CONVERTED_INTEGERS.split("|"):
    # Saturation is for values that may not fit.
    _sources = [
        source for source in CONVERTED_INTEGERS.split("|") if not np.can_cast(TYPES[source].dtype, TYPES[_target].dtype)
    ]
    _conversion(f"cvt sat type={_target} source={'|'.join(_sources)}")(_saturating)


@_conversion(f"cvt {ROUNDING} ftz? sat? type=f32 source={CONVERTED_INTEGERS}")
@_conversion(f"cvt {ROUNDING} sat? type=f16|f64 source={CONVERTED_INTEGERS}")
@_conversion(f"cvt {ROUNDING} type=bf16 source={CONVERTED_INTEGERS}", since=90)
def _(m: Modifiers) -> Compute:
    target, mode = fl.FORMATS[m.type.name], str(m["rounding"])

    def convert(a: NDArray) -> NDArray:
        result = fl.integer_to_float(a, target, mode)
        return target.canonical(fl.saturate(result) if m["sat"] else result)

    return convert


@_conversion(f"cvt {INTEGRAL} ftz? sat? type={CONVERTED_INTEGERS} source=f32")
@_conversion(f"cvt {INTEGRAL} sat? type={CONVERTED_INTEGERS} source=f16|f64")
@_conversion(f"cvt {INTEGRAL} type={CONVERTED_INTEGERS} source=bf16", since=90)
def _(m: Modifiers) -> Compute:
    mode = str(m["integral"])[:2]
    return lambda a: fl.float_to_integer(_source(m, a), m.type.dtype, mode, from_f64=m.source.bits == 64)


# Between floats


@_conversion("cvt ftz? sat? type=f32 source=f16|f32")
@_conversion("cvt ftz? sat? type=f64 source=f32")
@_conversion("cvt sat? type=f64 source=f16|f64")
@_conversion("cvt sat? type=f16 source=f16")
@_conversion("cvt type=bf16 source=bf16", since=90)
@_conversion("cvt type=f64 source=bf16", since=90)
@_conversion(f"cvt {ROUNDING} ftz? sat? type=f32 source=f64")
@_conversion(f"cvt {ROUNDING} ftz? sat? type=f16 source=f32")
@_conversion(f"cvt {ROUNDING} sat? type=f16 source=f64")
@_conversion(f"cvt {ROUNDING} type=f16 source=bf16", since=90)
@_conversion(f"cvt {ROUNDING} type=bf16 source=f16|f64", since=90)
@_conversion("cvt ftz type=f32 source=bf16", since=90)
@_conversion("cvt rounding=rm|rp ftz? type=bf16 source=f32")
@_conversion("cvt rounding=rn|rz ftz type=bf16 source=f32")
@_conversion(f"cvt {INTEGRAL} ftz? sat? type=f32 source=f32")
@_conversion(f"cvt {INTEGRAL} sat? type=f64 source=f64")
@_conversion(f"cvt {INTEGRAL} sat? type=f16 source=f16")
@_conversion(f"cvt {INTEGRAL} type=bf16 source=bf16", since=90)
def _(m: Modifiers) -> Compute:
    target = fl.FORMATS[m.type.name]

    def convert(a: NDArray) -> NDArray:
        value = _source(m, a)
        if m.source.name == "f16":
            # By way of f32, which has one NaN.
            value = fl.FORMATS["f32"].canonical(value.astype(np.float32))
        value = value.astype(np.float64)
        if m["integral"]:
            value = np.copysign(fl.TO_INTEGER[str(m["integral"])[:2]](value), value)
        result = target.round(value, m["rounding"] or "rn").astype(target.carrier)
        if m["ftz"] and target.name == "f32":
            result = fl.flush(result, target)
        return target.canonical(fl.saturate(result) if m["sat"] else result)

    return convert


@_conversion("cvt type=f32 source=bf16")
def _(m: Modifiers) -> Compute:
    # The bits are shifted, whatever they mean.
    return fl.FORMATS["bf16"].unpack


def _source(m: Modifiers, a: NDArray) -> NDArray:
    """The values of a source, subnormals of f32 flushed if the instruction says so."""
    description = fl.FORMATS[m.source.name]
    values = description.unpack(a)
    return fl.flush(values, description) if m["ftz"] and description.name == "f32" else values


# To the formats of tensor cores


def _narrowed(a: NDArray, m: Modifiers, target: fl.Format) -> NDArray:
    """float32 to a narrow format in register form: rounds, then applies `.relu` and `.satfinite`."""
    result = target.round(a.astype(np.float64), str(m["rounding"]))
    if m["relu"]:
        result = fl.rectify(result)
    return target.canonical(fl.saturate_finite(result, target) if m["satfinite"] else result)


@_conversion("cvt rounding=rn|rz relu? satfinite? type=f16|bf16 source=f32")
@_conversion("cvt rounding=rna satfinite? type=tf32 source=f32")
@_conversion("cvt rounding=rn|rz relu? type=tf32 source=f32", since=90)
def _(m: Modifiers) -> Compute:
    return lambda a: _narrowed(a, m, fl.FORMATS[m.type.name])


@computes("cvt rounding=rn|rz relu? satfinite? type=f16x2|bf16x2 source=f32", "T = S S")
def _(m: Modifiers) -> Compute:
    target = fl.FORMATS[m.type.name.removesuffix("x2")]

    def convert(high: NDArray, low: NDArray) -> NDArray:
        upper, lower = (fl.bits_of(_narrowed(x, m, target)).astype(np.uint32) for x in (high, low))
        return upper << np.uint32(16) | lower

    return convert


def _to_eight_bits(m: Modifiers, high: NDArray, low: NDArray) -> NDArray:
    """Two values, the first to the upper byte of 16 bits."""
    codes = []
    for x in (high, low):
        value = x.astype(np.float64)
        codes.append(fl.to_eight_bits(fl.rectify(value) if m["relu"] else value, str(m["target"])[:4]))
    return codes[0].astype(np.uint16) << np.uint16(8) | codes[1]


@computes("cvt rounding=rn satfinite relu? target=e4m3x2|e5m2x2 source=f32", "b16 = S S", since=89)
def _(m: Modifiers) -> Compute:
    return lambda high, low: _to_eight_bits(m, high, low)


@computes("cvt rounding=rn satfinite relu? target=e4m3x2|e5m2x2 source=f16x2", "b16 = S", since=89)
def _(m: Modifiers) -> Compute:
    def convert(pair: NDArray) -> NDArray:
        low, high = np.ascontiguousarray(pair).view(np.float16).reshape(-1, 2).T
        return _to_eight_bits(m, high, low)

    return convert


@computes("cvt rounding=rn relu? type=f16x2 packed=e4m3x2|e5m2x2", "T = b16", since=89)
def _(m: Modifiers) -> Compute:
    values = fl.eight_bit_values(str(m["packed"])[:4])

    def convert(pair: NDArray) -> NDArray:
        result = values[np.ascontiguousarray(pair).view(np.uint8)].astype(np.float16)
        return fl.FORMATS["f16"].canonical(fl.rectify(result) if m["relu"] else result).view(np.uint32)

    return convert


@computes("cvt pack sat convert=u16|s16 s32", "u32 = s32 s32")
@computes("cvt pack sat convert=u2|s2|u4|s4|u8|s8 s32 b32", "u32 = s32 s32 u32")
def _(m: Modifiers) -> Compute:
    kind, bits = str(m["convert"])[0], int(str(m["convert"])[1:])
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if kind == "s" else (0, (1 << bits) - 1)
    mask, shift = np.uint32((1 << bits) - 1), np.uint32(bits)

    def convert(a: NDArray, b: NDArray, c: NDArray | None = None) -> NDArray:
        upper, lower = (np.clip(x, low, high).view(np.uint32) & mask for x in (a, b))
        packed = upper << shift | lower
        return packed if c is None else packed | c << np.uint32(2 * bits)

    return convert
