"""Floating-point arithmetic as PTX defines it: formats, rounding, operations with one correctly rounded result.

Arrays hold one element a lane. Values of a format are carried in a NumPy type that holds them exactly: bf16 and
tf32 in float32, the others in their own. Floating-point warnings are the caller's business: the executor runs
with them off.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray

ROUNDING_MODES = ("rn", "rz", "rm", "rp")
"""To nearest even, toward zero, toward minus infinity, toward plus infinity."""


# Formats


@dataclass(frozen=True, slots=True)
class Format:
    """A binary floating-point format. `precision` counts the leading one; `smallest` is the exponent of the
    smallest subnormal; `nan` is the canonical NaN, which every instruction that computes gives (PTX ISA 9.7.3)."""

    name: str
    precision: int
    smallest: int
    largest: float
    nan: int
    carrier: np.dtype
    storage: np.dtype

    @property
    def tiny(self) -> float:
        """The smallest normal number."""
        return math.ldexp(1.0, self.smallest + self.precision - 1)

    def unpack(self, x: Array) -> Array:
        """Register contents to values."""
        if self.name == "bf16":
            return (x.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return x.view(self.carrier)

    def pack(self, values: Array) -> Array:
        """Values of this format to register contents, NaNs as they are."""
        if self.name == "bf16":
            return (values.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
        return values.view(self.storage)

    def canonical(self, values: Array) -> Array:
        """Values of this format to register contents with the canonical NaN. f64 keeps payloads, as GPUs do."""
        packed = self.pack(values)
        is_nan = np.isnan(values)
        if self.name == "f64" or not is_nan.any():
            return packed
        bits = np.where(is_nan, bits_of(packed).dtype.type(self.nan), bits_of(packed))
        return bits.view(self.storage)

    def round(self, x: Array, mode: str = "rn") -> Array:
        """float64 to the values of this format, in a rounding mode or "rna" (ties away from zero)."""
        if self.name == "f64":
            return x
        if mode == "rn" and self.name in ("f16", "f32"):
            return x.astype(self.carrier)
        _, exponent = np.frexp(x)
        unit = np.maximum(exponent - self.precision, self.smallest)
        rounded = np.ldexp(TO_INTEGER[mode](np.ldexp(x, -unit)), unit)
        overflows = (np.abs(rounded) > self.largest) & np.isfinite(x)
        limit = np.full_like(x, self.largest if mode == "rz" else np.inf)
        if mode in ("rm", "rp"):
            limit = np.where((x < 0) == (mode == "rm"), np.inf, self.largest)
        return np.copysign(np.where(overflows, limit, rounded), x).astype(self.carrier)


def _away_from_ties(x: Array) -> Array:
    whole = np.trunc(x)
    return whole + np.copysign(np.abs(x - whole) >= 0.5, x)


TO_INTEGER: dict[str, Callable[[Array], Array]] = {
    "rn": np.rint,
    "rz": np.trunc,
    "rm": np.floor,
    "rp": np.ceil,
    "rna": _away_from_ties,
}
"""Rounding to an integer, by rounding mode."""


def _format(name: str, precision: int, smallest: int, largest: float, nan: int, carrier: str, storage: str) -> Format:
    return Format(name, precision, smallest, largest, nan, np.dtype(carrier), np.dtype(storage))


FORMATS = {
    description.name: description
    for description in (
        _format("e4m3", 4, -9, 448.0, 0x7F, "f4", "u1"),
        _format("e5m2", 3, -16, 57344.0, 0x7F, "f4", "u1"),
        _format("f16", 11, -24, 65504.0, 0x7FFF, "f2", "f2"),
        _format("bf16", 8, -133, (2 - 2.0**-7) * 2.0**127, 0x7FFF, "f4", "u2"),
        _format("tf32", 11, -136, (2 - 2.0**-10) * 2.0**127, 0x7FFFFFFF, "f4", "u4"),
        _format("f32", 24, -149, (2 - 2.0**-23) * 2.0**127, 0x7FFFFFFF, "f4", "f4"),
        _format("f64", 53, -1074, (2 - 2.0**-52) * 2.0**1023, 0x7FF8000000000000, "f8", "f8"),
    )
}


def bits_of(x: Array) -> Array:
    """The same bits as unsigned integers."""
    return x.view(f"u{x.dtype.itemsize}")


# Eight-bit floats: few enough for a table of all values


def eight_bit_values(name: str) -> Array:
    """float32: the value of each of the 256 codes of e4m3 or e5m2 (OCP 8-bit floating point, 5)."""
    description = FORMATS[name]
    mantissa_bits = description.precision - 1
    codes = np.arange(128)
    exponent, mantissa = codes >> mantissa_bits, codes & (1 << mantissa_bits) - 1
    significand = np.where(exponent > 0, mantissa + (1 << mantissa_bits), mantissa)
    positive = np.ldexp(significand.astype(np.float32), np.maximum(exponent, 1) - 1 + description.smallest)
    positive[positive > description.largest] = np.nan
    if name == "e5m2":
        positive[0x7C] = np.inf
    return np.concatenate([positive, -positive])


def to_eight_bits(x: Array, name: str) -> Array:
    """float64 to uint8 codes of e4m3 or e5m2, to nearest even; out of range becomes the largest number."""
    description = FORMATS[name]
    values = saturate_finite(description.round(x), description)
    positive = eight_bit_values(name)[:128]
    finite = positive[positive <= description.largest]
    codes = np.searchsorted(finite, np.nan_to_num(np.abs(values), nan=0.0)) | np.signbit(values) * 0x80
    return np.where(np.isnan(x), description.nan, codes).astype(np.uint8)


# Denormals, saturation, minimum and maximum


def flush(x: Array, description: Format) -> Array:
    """`.ftz`: subnormal numbers become zeros of the same sign."""
    return np.where(np.abs(x) < x.dtype.type(description.tiny), np.copysign(x.dtype.type(0), x), x)


def saturate(x: Array) -> Array:
    """`.sat`: clamp to [0, 1]; NaN and -0 become +0."""
    return np.where(x > 0, np.minimum(x, x.dtype.type(1)), x.dtype.type(0))


def rectify(x: Array) -> Array:
    """`.relu`: negative numbers and -0 become +0; NaN stays."""
    return np.where(x <= 0, x.dtype.type(0), x)


def saturate_finite(x: Array, description: Format) -> Array:
    """`.satfinite`: infinities become the largest number of their sign; NaN stays."""
    largest = x.dtype.type(description.largest)
    return np.clip(x, -largest, largest)


def minimum(a: Array, b: Array, propagate_nan: bool) -> Array:
    """The smaller; -0 is smaller than +0; a NaN loses against a number unless NaNs propagate."""
    # Equal values differ at most in the sign of zero, and OR keeps a minus sign.
    ties = (bits_of(a) | bits_of(b)).view(a.dtype)
    return _pick(a, b, a < b, ties, propagate_nan)


def maximum(a: Array, b: Array, propagate_nan: bool) -> Array:
    """The larger; +0 is larger than -0; a NaN loses against a number unless NaNs propagate."""
    ties = (bits_of(a) & bits_of(b)).view(a.dtype)
    return _pick(a, b, a > b, ties, propagate_nan)


def _pick(a: Array, b: Array, a_wins: Array, ties: Array, propagate_nan: bool) -> Array:
    a_nan, b_nan = np.isnan(a), np.isnan(b)
    result = np.where(a == b, ties, np.where(a_wins | b_nan, a, b))
    return np.where(a_nan | b_nan if propagate_nan else a_nan & b_nan, a.dtype.type(np.nan), result)


# Error-free transformations in float64


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """a + b as a rounded sum and its exact error (Knuth)."""
    total = a + b
    virtual = total - a
    return total, (a - (total - virtual)) + (b - virtual)


def two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """a * b in float64 as a rounded product and its exact error (Dekker, with Veltkamp's splitting)."""

    def split(x: Array) -> tuple[Array, Array]:
        scaled = x * 134217729.0  # 2**27 + 1
        high = scaled - (scaled - x)
        return high, x - high

    product = a * b
    a_high, a_low = split(a)
    b_high, b_low = split(b)
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def to_odd(nearest: Array, error: Array) -> Array:
    """The exact nearest + error in float64, rounded to odd; of `error` only the sign counts.

    Rounding that again, in any mode, to at least two bits fewer gives the correctly rounded result (Boldo and
    Melquiond, "Emulation of FMA and Correctly Rounded Sums: Proved Algorithms Using Rounding to Odd", 2008).
    """
    bits = np.atleast_1d(nearest).view(np.int64)
    inexact_even = np.isfinite(nearest) & ((error > 0) | (error < 0)) & (bits & 1 == 0)
    away_from_zero = (error > 0) == (nearest > 0)
    return np.where(inexact_even, bits + np.where(away_from_zero, 1, -1), bits).view(np.float64)


def add_to_odd(a: Array, b: Array) -> Array:
    """a + b in float64, rounded to odd."""
    return to_odd(*two_sum(a, b))


def _quotient_error(quotient: Array, a: Array, b: Array) -> Array:
    """The sign of a / b - quotient, as a number."""
    product, low = two_product(quotient, b)
    return ((a - product) - low) * np.copysign(1.0, b)


def _root_error(root: Array, a: Array) -> Array:
    """The sign of sqrt(a) - root, as a number."""
    square, low = two_product(root, root)
    return (a - square) - low


def _divide_to_odd(a: Array, b: Array) -> Array:
    quotient = a / b
    return to_odd(quotient, _quotient_error(quotient, a, b))


def _root_to_odd(a: Array) -> Array:
    root = np.sqrt(a)
    return to_odd(root, _root_error(root, a))


# Operations with one correctly rounded result


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation on real numbers, by what its rounding needs.

    `native` is NumPy's, rounded to nearest, if it rounds once in every type. `odd` takes float64 values of 24 bits
    at most and rounds to odd. `error` takes float64 values and their result rounded to nearest; it gives a number
    of the sign of exact - nearest, and where that can be relied on. `exact` takes Fractions, for the other lanes.
    `addends` are the two numbers that a final addition adds: they decide the sign of an exact zero.
    """

    native: Callable[..., Array] | None
    odd: Callable[..., Array]
    error: Callable[..., tuple[Array, Array]]
    exact: Callable[..., Any]
    addends: Callable[..., tuple[Array, Array]] | None = None


def correctly_rounded(operation: Operation, description: Format, mode: str) -> Callable[..., Array]:
    """The operation on values of a format, rounded once in that mode."""
    if description.name == "f64":
        return _rounded64(operation, mode)
    if mode == "rn" and operation.native is not None and description.name in ("f16", "f32"):
        return operation.native

    def compute(*operands: Array) -> Array:
        wide = [x.astype(np.float64) for x in operands]
        odd = operation.odd(*wide)
        return description.round(_signed_zero(odd, odd == 0, operation, wide, mode), mode)

    return compute


def _rounded64(operation: Operation, mode: str) -> Callable[..., Array]:
    nearest_of = operation.native or fma64
    if mode == "rn":
        return nearest_of

    def compute(*operands: Array) -> Array:
        operands = np.broadcast_arrays(*operands)
        nearest = nearest_of(*operands)
        error, reliable = operation.error(nearest, *operands)
        finite = np.logical_and.reduce([np.isfinite(x) for x in operands]) & ~np.isnan(nearest)
        error = np.where(finite & np.isfinite(nearest), error, 0.0)
        for lane in np.flatnonzero(finite & (~reliable | np.isinf(nearest))):
            error[lane] = _exact_error(operation, [float(x[lane]) for x in operands], float(nearest[lane]))
        result = _step(nearest, error, mode)
        return _signed_zero(result, (nearest == 0) & (error == 0), operation, operands, mode)

    return compute


def _exact_error(operation: Operation, operands: list[float], nearest: float) -> float:
    """The sign of exact - nearest for finite operands."""
    try:
        exact = operation.exact(*map(Fraction, operands))
    except ZeroDivisionError:
        return 0.0
    if math.isinf(nearest):
        return -nearest
    difference = exact - Fraction(nearest)
    return float((difference > 0) - (difference < 0))


def _step(nearest: Array, error: Array, mode: str) -> Array:
    """From the nearest float to the one that a directed mode asks for; `error` has the sign of exact - nearest."""
    down, up = error < 0, error > 0
    if mode == "rz":
        down, up = down & (nearest > 0), up & (nearest < 0)
    elif mode == "rm":
        up = np.zeros_like(up)
    else:
        down = np.zeros_like(down)
    stepped = np.where(down, np.nextafter(nearest, -np.inf), np.where(up, np.nextafter(nearest, np.inf), nearest))
    return np.copysign(stepped, nearest)


def _signed_zero(result: Array, exactly_zero: Array, operation: Operation, operands: Any, mode: str) -> Array:
    """An exact zero under round-down: a sum of zeros or of opposites is -0 unless both addends are +0."""
    if operation.addends is None or mode != "rm":
        return result
    a, b = operation.addends(*operands)
    return np.where(exactly_zero, np.where(np.signbit(a) | np.signbit(b), -0.0, 0.0), result)


def fma64(a: Array, b: Array, c: Array) -> Array:
    """a * b + c, rounded once to nearest, for float64."""
    a, b, c = np.broadcast_arrays(a, b, c)
    total, rest = _fma_terms(a, b, c)
    result = total + rest
    # The terms are exact only well inside the range; zeros need IEEE's rules for their sign.
    plain = np.where(np.isfinite(a) & np.isfinite(b) & np.isinf(c), c, a * b + c)
    simple = ~np.isfinite(a) | ~np.isfinite(b) | ~np.isfinite(c) | (a == 0) | (b == 0)
    inside = _fma_terms_are_exact(a, b, c)
    result = np.where(simple | (inside & (result == 0)), plain, result)
    for lane in np.flatnonzero(~simple & ~inside):
        exact = Fraction(float(a[lane])) * Fraction(float(b[lane])) + Fraction(float(c[lane]))
        result[lane] = _nearest_float(exact) if exact else plain[lane]
    return result


def _fma_terms(a: Array, b: Array, c: Array) -> tuple[Array, Array]:
    """a * b + c as a total, and the rest rounded to odd. The rest is inexact only where it is far below the total:
    where the product and c cancel, their sum is exact."""
    product, product_error = two_product(a, b)
    high, low = two_sum(c, product_error)
    total, total_error = two_sum(product, high)
    return total, add_to_odd(total_error, low)


def _fma_terms_are_exact(a: Array, b: Array, c: Array) -> Array:
    product = np.abs(a * b)
    inside = (np.abs(a) < 2.0**990) & (np.abs(b) < 2.0**990) & (np.abs(c) < 2.0**1019)
    return inside & (product > 2.0**-960) & (product < 2.0**1019)


def _nearest_float(value: Fraction) -> float:
    """The nearest float64 of an exact value: Python divides integers with one rounding."""
    try:
        return value.numerator / value.denominator
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _sum_error(nearest: Array, a: Array, b: Array) -> tuple[Array, Array]:
    return two_sum(a, b)[1], np.maximum(np.abs(a), np.abs(b)) < 2.0**1020


def _product_error(nearest: Array, a: Array, b: Array) -> tuple[Array, Array]:
    size = np.abs(nearest)
    inside = (np.abs(a) < 2.0**990) & (np.abs(b) < 2.0**990) & (size > 2.0**-960) & (size < 2.0**1019)
    is_zero = (a == 0) | (b == 0)
    return np.where(is_zero, 0.0, two_product(a, b)[1]), inside | is_zero


def _division_error(nearest: Array, a: Array, b: Array) -> tuple[Array, Array]:
    size, divisor, quotient = np.abs(a), np.abs(b), np.abs(nearest)
    inside = (size > 2.0**-900) & (size < 2.0**1000) & (divisor > 2.0**-900) & (divisor < 2.0**980)
    inside &= (quotient > 2.0**-900) & (quotient < 2.0**980)
    is_zero = a == 0
    return np.where(is_zero, 0.0, _quotient_error(nearest, a, b)), inside | is_zero


def _square_root_error(nearest: Array, a: Array) -> tuple[Array, Array]:
    # Scaling by a power of four is exact, and keeps the square's error from underflowing.
    scale = np.where(a < 1.0, 2.0**300, 2.0**-30)
    return _root_error(nearest * scale, a * scale * scale), np.ones(a.shape, bool)


def _fma_error(nearest: Array, a: Array, b: Array, c: Array) -> tuple[Array, Array]:
    error = two_sum(*_fma_terms(a, b, c))[1]
    simple = (a == 0) | (b == 0)
    return np.where(simple, 0.0, error), _fma_terms_are_exact(a, b, c) | simple


ADD = Operation(np.add, add_to_odd, _sum_error, lambda a, b: a + b, lambda a, b: (a, b))
SUBTRACT = Operation(
    np.subtract,
    lambda a, b: add_to_odd(a, -b),
    lambda nearest, a, b: _sum_error(nearest, a, -b),
    lambda a, b: a - b,
    lambda a, b: (a, -b),
)
MULTIPLY = Operation(np.multiply, np.multiply, _product_error, lambda a, b: a * b)
DIVIDE = Operation(np.divide, _divide_to_odd, _division_error, lambda a, b: a / b)
SQUARE_ROOT = Operation(np.sqrt, _root_to_odd, _square_root_error, lambda a: None)
FMA = Operation(
    None,
    lambda a, b, c: add_to_odd(a * b, c),
    _fma_error,
    lambda a, b, c: a * b + c,
    lambda a, b, c: (a * b, c),
)


def fma(a: Array, b: Array, c: Array, description: Format) -> Array:
    """a * b + c on values of a format, rounded once to nearest."""
    return correctly_rounded(FMA, description, "rn")(a, b, c)


# Conversions (PTX ISA 9.7.9, cvt)


def float_to_integer(x: Array, dtype: np.dtype, mode: str, from_f64: bool) -> Array:
    """Rounds and clamps to the range of `dtype`. NaN becomes 0, or the top bit alone from f64 or to 64 bits."""
    limits = np.iinfo(dtype)
    value = TO_INTEGER[mode](x.astype(np.float64))
    # In float64 the largest 64-bit integer is one too large, which no smaller float64 is.
    too_high = value >= float(limits.max) + (1.0 if limits.bits < 64 else 0.0)
    too_low = value < float(limits.min)
    is_nan = np.isnan(value)
    inside = np.where(too_high | too_low | is_nan, 0.0, value).astype(dtype)
    top_bit = np.array([1 << (limits.bits - 1)], dtype=f"u{dtype.itemsize}").view(dtype)
    nan_value = top_bit if from_f64 or limits.bits == 64 else dtype.type(0)
    result = np.where(too_high, dtype.type(limits.max), np.where(too_low, dtype.type(limits.min), inside))
    return np.where(is_nan, nan_value, result)


def integer_to_float(x: Array, description: Format, mode: str) -> Array:
    """The value in the format, rounded once."""
    if x.dtype.itemsize < 8:
        return description.round(x.astype(np.float64), mode)
    half = x.dtype.type(32)
    high = (x >> half).astype(np.float64) * 2.0**32
    low = (x & x.dtype.type(0xFFFFFFFF)).astype(np.float64)
    if description.name == "f64":
        total, error = two_sum(high, low)
        return total if mode == "rn" else _step(total, error, mode)
    return description.round(add_to_odd(high, low), mode)
