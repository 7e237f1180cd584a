"""Floating-point arithmetic (PTX ISA 9.7.3 to 9.7.5).

An instruction unpacks its sources to values, computes, and packs the result; f16x2 and bf16x2 do so with twice as
many elements. What computes gives the canonical NaN; f64 alone keeps the NaNs it is given.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from softgpu import floats as fl
from softgpu.instructions.table import Compute, Modifiers, Type, computes

ROUNDING = "rounding=rn|rz|rm|rp"
F16 = "f16|f16x2"
BF16 = "bf16|bf16x2"


def element_format(kind: Type) -> fl.Format:
    """The format of a value, or of each half of an x2 type."""
    return fl.FORMATS[kind.name.removesuffix("x2")]


def by_elements(compute: Compute, kind: Type) -> Compute:
    """Apply a function on elements to both halves of an x2 type."""
    if not kind.name.endswith("x2"):
        return compute
    storage = element_format(kind).storage

    def execute(*packed: NDArray) -> NDArray:
        halves = [np.ascontiguousarray(x).view(storage) for x in np.broadcast_arrays(*packed)]
        return compute(*halves).view(np.uint32)

    return execute


def _floating(m: Modifiers, compute: Compute) -> Compute:
    """An instruction that computes on values of its format: applies `.ftz`, `.sat` and `.relu`."""
    description = element_format(m.type)

    def execute(*sources: NDArray) -> NDArray:
        values = [description.unpack(x) for x in sources]
        if m["ftz"]:
            values = [fl.flush(x, description) for x in values]
        result = compute(*values)
        if m["ftz"]:
            result = fl.flush(result, description)
        if m["sat"]:
            result = fl.saturate(result)
        if m["relu"]:
            result = fl.rectify(result)
        return description.canonical(result)

    return by_elements(execute, m.type)


def _rounded(operation: fl.Operation) -> Callable[[Modifiers], Compute]:
    """An instruction with one correctly rounded result."""
    return lambda m: _floating(m, fl.correctly_rounded(operation, element_format(m.type), m["rounding"] or "rn"))


for _opcode, _operation in {"add": fl.ADD, "sub": fl.SUBTRACT, "mul": fl.MULTIPLY}.items():
    for _form in (f"{ROUNDING}? ftz? sat? type=f32", f"{ROUNDING}? type=f64", f"rounding=rn? ftz? sat? type={F16}"):
        computes(f"{_opcode} {_form}", "T = T T")(_rounded(_operation))
    computes(f"{_opcode} rounding=rn? type={BF16}", "T = T T", since=90)(_rounded(_operation))

for _opcode in ("fma", "mad"):
    for _form in (f"{ROUNDING} ftz? sat? type=f32", f"{ROUNDING} type=f64"):
        computes(f"{_opcode} {_form}", "T = T T T")(_rounded(fl.FMA))
for _form in (f"ftz? sat? type={F16}", f"ftz? relu type={F16}", f"relu? type={BF16}"):
    computes(f"fma rounding=rn {_form}", "T = T T T")(_rounded(fl.FMA))

for _form in (f"{ROUNDING} ftz? type=f32", f"{ROUNDING} type=f64", "full ftz? type=f32"):
    computes(f"div {_form}", "T = T T")(_rounded(fl.DIVIDE))
for _form in (f"{ROUNDING} ftz? type=f32", f"{ROUNDING} type=f64", "approx ftz? type=f32"):
    computes(f"sqrt {_form}", "T = T")(_rounded(fl.SQUARE_ROOT))


@computes(f"rcp {ROUNDING} ftz? type=f32", "T = T")
@computes(f"rcp {ROUNDING} type=f64", "T = T")
@computes("rcp approx ftz? type=f32", "T = T")
def _(m: Modifiers) -> Compute:
    divide = fl.correctly_rounded(fl.DIVIDE, element_format(m.type), m["rounding"] or "rn")
    return _floating(m, lambda a: divide(np.ones_like(a), a))


@computes("div approx ftz? type=f32", "T = T T")
def _(m: Modifiers) -> Compute:
    def divide(a: NDArray, b: NDArray) -> NDArray:
        # The reciprocal of so large a divisor is flushed to zero, and infinity times zero is NaN.
        huge = (np.abs(b) > 2.0**126) & np.isfinite(b)
        return np.where(huge, a * np.copysign(np.float32(0), b), a / b)

    return _floating(m, divide)


# Sign, minimum and maximum


def _sign(compute: Compute) -> Callable[[Modifiers], Compute]:
    """An instruction on the sign alone, that of NaNs included."""

    def enter(m: Modifiers) -> Compute:
        description = element_format(m.type)

        def execute(source: NDArray) -> NDArray:
            value = description.unpack(source)
            return description.pack(compute(fl.flush(value, description) if m["ftz"] else value))

        return by_elements(execute, m.type)

    return enter


for _opcode, _sign_function in {"neg": np.negative, "abs": np.abs}.items():
    for _form in (f"ftz? type=f32|{F16}", "type=f64", f"type={BF16}"):
        computes(f"{_opcode} {_form}", "T = T")(_sign(_sign_function))


@computes("copysign type=f32|f64", "T = T T")
def _(m: Modifiers) -> Compute:
    return lambda sign, value: np.copysign(value, sign)


def _extremum(choose: Callable[[NDArray, NDArray, bool], NDArray]) -> Callable[[Modifiers], Compute]:
    def enter(m: Modifiers) -> Compute:
        propagate_nan = bool(m["NaN"])
        if not m["xorsign"]:
            return _floating(m, lambda a, b: choose(a, b, propagate_nan))

        def signed(a: NDArray, b: NDArray) -> NDArray:
            result = choose(np.abs(a), np.abs(b), propagate_nan)
            return np.where(np.signbit(a) ^ np.signbit(b), -result, result)

        return _floating(m, signed)

    return enter


for _opcode, _choose in {"min": fl.minimum, "max": fl.maximum}.items():
    for _form in (f"ftz? NaN? type=f32|{F16}", "type=f64", f"NaN? type={BF16}"):
        computes(f"{_opcode} {_form}", "T = T T")(_extremum(_choose))
    for _form in (f"ftz? NaN? xorsign abs type=f32|{F16}", f"NaN? xorsign abs type={BF16}"):
        computes(f"{_opcode} {_form}", "T = T T", since=86)(_extremum(_choose))


# Approximations


def _approximate(function: Compute) -> Callable[[Modifiers], Compute]:
    """Computed in float64 and rounded once, well inside the tolerance of the ISA."""

    def enter(m: Modifiers) -> Compute:
        description = element_format(m.type)
        return _floating(m, lambda a: description.round(function(a.astype(np.float64))))

    return enter


def _reciprocal_root(a: NDArray) -> NDArray:
    return 1 / np.sqrt(a)


_APPROXIMATIONS: dict[str, Compute] = {
    "rsqrt approx ftz? type=f32": _reciprocal_root,
    "rsqrt approx type=f64": _reciprocal_root,
    "sin approx ftz? type=f32": np.sin,
    "cos approx ftz? type=f32": np.cos,
    "lg2 approx ftz? type=f32": np.log2,
    "ex2 approx ftz? type=f32": np.exp2,
    f"ex2 approx type={F16}": np.exp2,
    f"tanh approx type=f32|{F16}": np.tanh,
}
for _form, _function in _APPROXIMATIONS.items():
    computes(_form, "T = T")(_approximate(_function))
computes(f"ex2 approx ftz type={BF16}", "T = T", since=90)(_approximate(np.exp2))
computes(f"tanh approx type={BF16}", "T = T", since=90)(_approximate(np.tanh))


def _upper_half(function: Compute) -> Callable[[Modifiers], Compute]:
    """A gross approximation that reads and writes the upper 32 bits of float64 alone."""

    def enter(m: Modifiers) -> Compute:
        upper, half = np.uint64(0xFFFFFFFF00000000), np.uint64(0x80000000)
        canonical_nan = np.uint64(0x7FFFFFFF00000000)

        def compute(a: NDArray) -> NDArray:
            source = fl.flush((a.view(np.uint64) & upper).view(np.float64), fl.FORMATS["f64"])
            result = fl.flush(function(source), fl.FORMATS["f64"])
            nearest = result.view(np.uint64) + half & upper
            return np.where(np.isnan(a) | np.isnan(result), canonical_nan, nearest).view(np.float64)

        return compute

    return enter


computes("rcp approx ftz type=f64", "T = T")(_upper_half(lambda a: 1 / a))
computes("rsqrt approx ftz type=f64", "T = T")(_upper_half(_reciprocal_root))


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
