"""Conversion between types: cvt (PTX ISA 9.7.9.22)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from softgpu import arithmetic as ar
from softgpu.instructions.decoder import Decoder
from softgpu.instructions.table import Compute, Modifiers, computes, instruction
from softgpu.program import Execute

ROUNDING = "rounding=rn|rz|rm|rp"
CONVERTED_INTEGERS = "u8|s8|u16|s16|u32|s32|u64|s64"


def _conversion(form: str) -> Callable[[Callable[[Modifiers], Compute]], Callable]:
    """Enter a form of cvt, whose registers may be wider than its types."""

    def enter(function: Callable[[Modifiers], Compute]) -> Callable:
        def decode(decoder: Decoder, m: Modifiers) -> Execute:
            destination, source = decoder.operands(2)
            convert = function(m)
            read = decoder.read(source, m.source, widths_may_differ=True)
            write = decoder.write(destination, m.type, widths_may_differ=True)
            return lambda chunk, lanes: write(chunk, lanes, convert(read(chunk, lanes)))

        instruction(form)(decode)
        return function

    return enter


@_conversion(f"cvt sat? type={CONVERTED_INTEGERS} source={CONVERTED_INTEGERS}")
def _(m: Modifiers) -> Compute:
    dtype = m.type.dtype
    return (lambda a: ar.saturate_integer(a, dtype)) if m["sat"] else (lambda a: a.astype(dtype))


@_conversion(f"cvt {ROUNDING} sat? type=f16|f32|f64 source={CONVERTED_INTEGERS}")
def _(m: Modifiers) -> Compute:
    return _saturated(m, lambda a: ar.integer_to_float(a, m.type.dtype, str(m["rounding"])))


@_conversion(f"cvt integral=rni|rzi|rmi|rpi ftz? sat? type={CONVERTED_INTEGERS} source=f16|f32|f64")
def _(m: Modifiers) -> Compute:
    return lambda a: ar.float_to_integer(_source(m, a), m.type.dtype, str(m["integral"]))


@_conversion("cvt ftz? sat? type=f32 source=f16")
@_conversion("cvt ftz? sat? type=f32 source=f32")
@_conversion("cvt ftz? sat? type=f64 source=f32")
@_conversion("cvt sat? type=f64 source=f16")
@_conversion("cvt sat? type=f64 source=f64")
@_conversion("cvt sat? type=f16 source=f16")
@_conversion(f"cvt {ROUNDING} ftz? sat? type=f32 source=f64")
@_conversion(f"cvt {ROUNDING} ftz? sat? type=f16 source=f32")
@_conversion(f"cvt {ROUNDING} sat? type=f16 source=f64")
def _(m: Modifiers) -> Compute:
    def convert(a: NDArray) -> NDArray:
        result = ar.float_to_float(_source(m, a), m.type.dtype, str(m["rounding"] or "rn"))
        return ar.flush(result) if m["ftz"] and m.type.bits == 32 else result

    return _saturated(m, convert)


@_conversion("cvt integral=rni|rzi|rmi|rpi ftz? sat? type=f32 source=f32")
@_conversion("cvt integral=rni|rzi|rmi|rpi sat? type=f64 source=f64")
@_conversion("cvt integral=rni|rzi|rmi|rpi sat? type=f16 source=f16")
def _(m: Modifiers) -> Compute:
    return _saturated(m, lambda a: ar.TO_INTEGRAL[str(m["integral"])](_source(m, a)))


@_conversion("cvt type=f32 source=bf16")
def _(m: Modifiers) -> Compute:
    return ar.bfloat_to_float


@_conversion("cvt rounding=rn|rz type=bf16 source=f32")
def _(m: Modifiers) -> Compute:
    return lambda a: ar.float_to_bfloat(a, str(m["rounding"]))


def _source(m: Modifiers, a: NDArray) -> NDArray:
    return ar.flush(a) if m["ftz"] and m.source.bits == 32 else a


def _saturated(m: Modifiers, compute: Compute) -> Compute:
    return (lambda a: ar.saturate(compute(a))) if m["sat"] else compute


@computes("cvt rounding=rn|rz f16x2 source=f32", "f16x2 = S S")
def _(m: Modifiers) -> Compute:
    half, mode = np.dtype(np.float16), str(m["rounding"])
    return lambda high, low: _join(*(ar.bits_of(ar.float_to_float(x, half, mode)) for x in (high, low)))


@computes("cvt rounding=rn|rz bf16x2 source=f32", "bf16x2 = S S")
def _(m: Modifiers) -> Compute:
    return lambda high, low: _join(*(ar.float_to_bfloat(x, str(m["rounding"])) for x in (high, low)))


def _join(high: NDArray, low: NDArray) -> NDArray:
    return high.astype(np.uint32) << np.uint32(16) | low
