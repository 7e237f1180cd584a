"""Floating-point arithmetic (PTX ISA 9.7.3 to 9.7.5)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from softgpu import arithmetic as ar
from softgpu.instructions.table import Compute, Modifiers, computes

ROUNDING = "rounding=rn|rz|rm|rp"


def _floating(m: Modifiers, compute: Compute) -> Compute:
    """Apply the rounding mode, `.ftz` and `.sat`."""
    if m["rounding"] not in (None, "rn"):
        compute = ar.rounded(compute, str(m["rounding"]))
    return _flushed(m, compute)


def _flushed(m: Modifiers, compute: Compute) -> Compute:
    """Apply `.ftz` to sources and result, and `.sat`."""
    if m["ftz"] and m["sat"]:
        return lambda *x: ar.saturate(ar.flush(compute(*map(ar.flush, x))))
    if m["ftz"]:
        return lambda *x: ar.flush(compute(*map(ar.flush, x)))
    if m["sat"]:
        return lambda *x: ar.saturate(compute(*x))
    return compute


@computes(f"add {ROUNDING}? ftz? sat? type=f32", "T = T T")
@computes(f"add {ROUNDING}? type=f64", "T = T T")
@computes("add rounding=rn? sat? type=f16", "T = T T")
def _(m: Modifiers) -> Compute:
    return _floating(m, lambda a, b: a + b)


@computes(f"sub {ROUNDING}? ftz? sat? type=f32", "T = T T")
@computes(f"sub {ROUNDING}? type=f64", "T = T T")
@computes("sub rounding=rn? sat? type=f16", "T = T T")
def _(m: Modifiers) -> Compute:
    return _floating(m, lambda a, b: a - b)


@computes(f"mul {ROUNDING}? ftz? sat? type=f32", "T = T T")
@computes(f"mul {ROUNDING}? type=f64", "T = T T")
@computes("mul rounding=rn? sat? type=f16", "T = T T")
def _(m: Modifiers) -> Compute:
    return _floating(m, lambda a, b: a * b)


@computes(f"fma {ROUNDING} ftz? sat? type=f32", "T = T T T")
@computes(f"fma {ROUNDING} type=f64", "T = T T T")
@computes(f"mad {ROUNDING} ftz? sat? type=f32", "T = T T T")
@computes(f"mad {ROUNDING} type=f64", "T = T T T")
@computes("fma rounding=rn sat? type=f16", "T = T T T")
def _(m: Modifiers) -> Compute:
    if m["rounding"] != "rn":
        return _floating(m, lambda a, b, c: a * b + c)
    return _flushed(m, ar.fma64 if m.type.bits == 64 else ar.fma_narrow)


@computes(f"div {ROUNDING} ftz? type=f32", "T = T T")
@computes(f"div {ROUNDING} type=f64", "T = T T")
@computes("div full ftz? type=f32", "T = T T")
def _(m: Modifiers) -> Compute:
    return _floating(m, lambda a, b: a / b)


@computes("div approx ftz? type=f32", "T = T T")
def _(m: Modifiers) -> Compute:
    def divide(a: NDArray, b: NDArray) -> NDArray:
        # The reciprocal of so large a divisor is flushed to zero, and infinity times zero is NaN.
        huge = (np.abs(b) > 2.0**126) & np.isfinite(b)
        sign = np.sign(a) * np.sign(b)
        return np.where(huge, np.where(np.isfinite(a), np.copysign(np.float32(0), sign), np.float32(np.nan)), a / b)

    return _flushed(m, divide)


@computes("neg ftz? type=f32", "T = T")
@computes("neg type=f16|f64", "T = T")
def _(m: Modifiers) -> Compute:
    return _flushed(m, np.negative)


@computes("abs ftz? type=f32", "T = T")
@computes("abs type=f16|f64", "T = T")
def _(m: Modifiers) -> Compute:
    return _flushed(m, np.abs)


@computes("min ftz? NaN? type=f32", "T = T T")
@computes("min NaN? type=f16|f64", "T = T T")
def _(m: Modifiers) -> Compute:
    return _flushed(m, lambda a, b: ar.float_min(a, b, bool(m["NaN"])))


@computes("max ftz? NaN? type=f32", "T = T T")
@computes("max NaN? type=f16|f64", "T = T T")
def _(m: Modifiers) -> Compute:
    return _flushed(m, lambda a, b: ar.float_max(a, b, bool(m["NaN"])))


@computes("copysign type=f32|f64", "T = T T")
def _(m: Modifiers) -> Compute:
    return lambda sign, value: np.copysign(value, sign)


@computes(f"rcp {ROUNDING} ftz? type=f32", "T = T")
@computes(f"rcp {ROUNDING} type=f64", "T = T")
@computes("rcp approx ftz? type=f32", "T = T")
def _(m: Modifiers) -> Compute:
    return _floating(m, lambda a: 1 / a)


@computes("sqrt rn ftz? type=f32", "T = T")
@computes("sqrt rn type=f64", "T = T")
@computes("sqrt approx ftz? type=f32", "T = T")
def _(m: Modifiers) -> Compute:
    return _flushed(m, np.sqrt)


def _approximate(function: Compute) -> Callable[[Modifiers], Compute]:
    """An approximate instruction: computed in float64 and rounded once, well inside its tolerance."""
    return lambda m: _flushed(m, lambda a: function(a.astype(np.float64)).astype(a.dtype))


_APPROXIMATIONS: dict[str, Compute] = {
    "rsqrt approx ftz? type=f32": lambda a: 1 / np.sqrt(a),
    "rsqrt approx type=f64": lambda a: 1 / np.sqrt(a),
    "sin approx ftz? type=f32": np.sin,
    "cos approx ftz? type=f32": np.cos,
    "lg2 approx ftz? type=f32": np.log2,
    "ex2 approx ftz? type=f32": np.exp2,
    "tanh approx type=f32": np.tanh,
}
for _form, _function in _APPROXIMATIONS.items():
    computes(_form, "T = T")(_approximate(_function))


@computes("testp test=finite|infinite|number|notanumber|normal|subnormal type=f32|f64", "pred = T")
def _(m: Modifiers) -> Compute:
    tiny = np.finfo(m.type.dtype).tiny
    tests: dict[str, Compute] = {
        "finite": np.isfinite,
        "infinite": np.isinf,
        "number": lambda a: ~np.isnan(a),
        "notanumber": np.isnan,
        "normal": lambda a: np.isfinite(a) & (np.abs(a) >= tiny),
        "subnormal": lambda a: (a != 0) & (np.abs(a) < tiny),
    }
    return tests[str(m["test"])]
