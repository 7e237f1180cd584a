"""Arithmetic that NumPy lacks or defines differently from PTX: exact fma, rounding, conversions, bit fields.

Every function takes and returns NumPy arrays, one element a lane. Floating-point warnings are the caller's
business: the executor runs with them off.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray

ROUNDING_MODES = ("rn", "rz", "rm", "rp")
"""To nearest even, toward zero, toward minus infinity, toward plus infinity."""


# Denormals, saturation, minimum and maximum


def flush(x: Array) -> Array:
    """`.ftz`: subnormal numbers become zeros of the same sign."""
    return np.where(np.abs(x) < np.finfo(x.dtype).tiny, np.copysign(x.dtype.type(0), x), x)


def saturate(x: Array) -> Array:
    """`.sat`: clamp to [0, 1]; NaN and -0 become +0."""
    return np.where(x > 0, np.minimum(x, x.dtype.type(1)), x.dtype.type(0))


def bits_of(x: Array) -> Array:
    """The same bits as unsigned integers."""
    return x.view(f"u{x.dtype.itemsize}")


def canonical_nan(dtype: np.dtype) -> Array:
    """The NaN that instructions which promise a canonical NaN return: all ones below the sign."""
    width = dtype.itemsize
    pattern = (1 << (8 * width - 1)) - 1 if width < 8 else 0x7FF8000000000000
    return np.array([pattern], dtype=f"u{width}").view(dtype)


def float_min(a: Array, b: Array, propagate_nan: bool) -> Array:
    """The smaller; -0 is smaller than +0; a NaN loses against a number unless NaNs propagate."""
    # Equal values differ at most in the sign of zero, and OR keeps a minus sign.
    ties = (bits_of(a) | bits_of(b)).view(a.dtype)
    return _pick(a, b, a < b, ties, propagate_nan)


def float_max(a: Array, b: Array, propagate_nan: bool) -> Array:
    """The larger; +0 is larger than -0; a NaN loses against a number unless NaNs propagate."""
    ties = (bits_of(a) & bits_of(b)).view(a.dtype)
    return _pick(a, b, a > b, ties, propagate_nan)


def _pick(a: Array, b: Array, a_wins: Array, ties: Array, propagate_nan: bool) -> Array:
    a_nan, b_nan = np.isnan(a), np.isnan(b)
    result = np.where(a == b, ties, np.where(a_wins | b_nan, a, b))
    return np.where(a_nan | b_nan if propagate_nan else a_nan & b_nan, canonical_nan(a.dtype), result)


# Exact results, rounded once

_FORMATS = {2: (11, -24), 4: (24, -149), 8: (53, -1074)}
"""Width in bytes -> bits of precision, exponent of the smallest subnormal."""


def round_fraction(value: Fraction, dtype: np.dtype, mode: str) -> float:
    """The float of `dtype` nearest to an exact value in a rounding mode. Slow; for rare cases."""
    if value == 0:
        return 0.0
    precision, smallest = _FORMATS[dtype.itemsize]
    magnitude = abs(value)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if magnitude < Fraction(2) ** exponent:
        exponent -= 1
    unit = max(exponent - precision + 1, smallest)
    quotient = magnitude / Fraction(2) ** unit
    steps = math.floor(quotient)
    rest = quotient - steps
    negative = value < 0
    if mode == "rn":
        steps += rest > Fraction(1, 2) or (rest == Fraction(1, 2) and steps % 2 == 1)
    elif mode != "rz":
        steps += bool(rest) and negative == (mode == "rm")
    largest = float(np.finfo(dtype).max)
    exact = Fraction(2) ** unit * steps
    if exact > Fraction(largest):
        toward_infinity = mode == "rn" or (mode != "rz" and negative == (mode == "rm"))
        result = math.inf if toward_infinity else largest
    else:
        result = float(exact)
    return -result if negative else result


def rounded(operation: Callable[..., Array], mode: str) -> Callable[..., Array]:
    """An arithmetic operation in a rounding mode other than to-nearest, exact lane by lane.

    `operation` must mean the same on arrays and on Fractions (+, -, *, / and compositions of them).
    """

    def compute(*operands: Array) -> Array:
        arrays = np.broadcast_arrays(*operands)
        nearest = np.array(operation(*arrays))
        for lane, values in enumerate(zip(*(array.tolist() for array in arrays), strict=True)):
            if not all(map(math.isfinite, values)):
                continue
            try:
                exact: Any = operation(*map(Fraction, values))
            except ZeroDivisionError:
                continue
            if exact:
                nearest[lane] = round_fraction(exact, nearest.dtype, mode)
            elif mode == "rm":
                nearest[lane] = _zero_rounded_down(operation, values, nearest[lane])
        return nearest

    return compute


def _zero_rounded_down(operation: Callable, values: tuple[float, ...], nearest: float) -> float:
    """An exact zero under round-down: a sum of zeros or of opposites is -0 unless both addends are +0."""
    addends = operation(*map(_Addends, values)).addends
    if len(addends) < 2:
        return nearest
    return 0.0 if all(math.copysign(1.0, a) > 0 and a == 0 for a in addends) else -0.0


class _Addends:
    """Finds what the last addition of an operation adds."""

    def __init__(self, value: float, addends: tuple[float, ...] = ()):
        self.value, self.addends = value, addends

    def __add__(self, other: _Addends) -> _Addends:
        return _Addends(self.value + other.value, (self.value, other.value))

    def __sub__(self, other: _Addends) -> _Addends:
        return _Addends(self.value - other.value, (self.value, -other.value))

    def __mul__(self, other: _Addends) -> _Addends:
        return _Addends(self.value * other.value)

    def __truediv__(self, other: _Addends) -> _Addends:
        return _Addends(self.value / other.value)


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


def add_to_odd(a: Array, b: Array) -> Array:
    """a + b in float64, rounded to odd: rounding that again to fewer bits gives the correctly rounded sum.

    Boldo and Melquiond, "Emulation of FMA and Correctly Rounded Sums: Proved Algorithms Using Rounding to
    Odd", 2008.
    """
    total, error = two_sum(a, b)
    bits = np.atleast_1d(total).view(np.int64)
    away_from_zero = (error > 0) == (total > 0)
    inexact_even = np.isfinite(total) & (error != 0) & (bits & 1 == 0)
    return np.where(inexact_even, bits + np.where(away_from_zero, 1, -1), bits).view(np.float64)


def fma_narrow(a: Array, b: Array, c: Array) -> Array:
    """a * b + c, rounded once, for float16 and float32: the product is exact in float64."""
    wide = [x.astype(np.float64) for x in (a, b, c)]
    return add_to_odd(wide[0] * wide[1], wide[2]).astype(a.dtype)


def fma64(a: Array, b: Array, c: Array) -> Array:
    """a * b + c, rounded once, for float64."""
    a, b, c = np.broadcast_arrays(a, b, c)
    product, product_error = two_product(a, b)
    high, low = two_sum(c, product_error)
    total, total_error = two_sum(product, high)
    result = total + add_to_odd(total_error, low)
    # The error terms are exact only well inside the range; zeros need IEEE's rules for their sign.
    plain = a * b + c
    simple = ~np.isfinite(a) | ~np.isfinite(b) | ~np.isfinite(c) | (a == 0) | (b == 0)
    inside = (np.abs(a) < 2.0**990) & (np.abs(b) < 2.0**990) & (np.abs(c) < 2.0**1019)
    inside &= (np.abs(product) > 2.0**-960) & (np.abs(product) < 2.0**1019)
    result = np.where(simple | (inside & (result == 0)), plain, result)
    for lane in np.flatnonzero(~simple & ~inside):
        exact = Fraction(float(a[lane])) * Fraction(float(b[lane])) + Fraction(float(c[lane]))
        result[lane] = round_fraction(exact, a.dtype, "rn")
        if exact == 0:
            result[lane] = plain[lane]
    return result


# Conversions (PTX ISA 9.7.9, cvt)

TO_INTEGRAL: dict[str, Callable[[Array], Array]] = {
    "rni": np.rint,
    "rzi": np.trunc,
    "rmi": np.floor,
    "rpi": np.ceil,
}
"""Rounding to an integral value, by modifier."""


def float_to_integer(x: Array, dtype: np.dtype, mode: str) -> Array:
    """Clamps to the range of `dtype`. NaN becomes 0, or the top bit alone from float64 or to 64 bits."""
    limits = np.iinfo(dtype)
    value = TO_INTEGRAL[mode](x.astype(np.float64))
    too_high = value >= float(limits.max) + (1.0 if limits.bits < 64 else 0.0)
    too_low = value < float(limits.min)
    is_nan = np.isnan(value)
    inside = np.where(too_high | too_low | is_nan, 0.0, value).astype(dtype)
    top_bit = np.array([1 << (limits.bits - 1)], dtype=f"u{dtype.itemsize}").view(dtype)
    nan_value = top_bit if x.dtype.itemsize == 8 or limits.bits == 64 else dtype.type(0)
    result = np.where(too_high, dtype.type(limits.max), np.where(too_low, dtype.type(limits.min), inside))
    return np.where(is_nan, nan_value, result)


def saturate_integer(x: Array, dtype: np.dtype) -> Array:
    """Integer conversion with `.sat`: clamp to the range of `dtype`."""
    source, target = np.iinfo(x.dtype), np.iinfo(dtype)
    low, high = max(source.min, target.min), min(source.max, target.max)
    return np.clip(x, x.dtype.type(low), x.dtype.type(high)).astype(dtype)


def integer_to_float(x: Array, dtype: np.dtype, mode: str) -> Array:
    """Rounded once, in any of the four modes."""
    if mode == "rn" and dtype.itemsize >= 4:
        return x.astype(dtype)
    if x.dtype.itemsize < 8:
        return float_to_float(x.astype(np.float64), dtype, mode)
    return np.array([round_fraction(Fraction(value), dtype, mode) for value in x.tolist()], dtype=dtype)


def float_to_float(x: Array, dtype: np.dtype, mode: str) -> Array:
    """To a narrower float in any of the four modes, or exactly to a wider one."""
    nearest = x.astype(dtype)
    if mode == "rn" or dtype.itemsize >= x.dtype.itemsize:
        return nearest
    back = nearest.astype(x.dtype)
    one = dtype.type
    down, up = np.nextafter(nearest, one(-np.inf)), np.nextafter(nearest, one(np.inf))
    too_high, too_low = back > x, back < x
    if mode == "rz":
        too_high, too_low = too_high & (x > 0), too_low & (x < 0)
    step_down = too_high if mode != "rp" else np.zeros_like(too_high)
    step_up = too_low if mode != "rm" else np.zeros_like(too_low)
    result = np.where(step_down, down, np.where(step_up, up, nearest))
    return np.copysign(result, x.astype(dtype))


def bfloat_to_float(bits: Array) -> Array:
    """bfloat16 bits (uint16) to float32: exact."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def float_to_bfloat(x: Array, mode: str) -> Array:
    """float32 to bfloat16 bits (uint16), mode "rn" or "rz". NaN becomes 0x7fff."""
    bits = x.view(np.uint32)
    increment = ((bits >> np.uint32(16)) & np.uint32(1)) + np.uint32(0x7FFF) if mode == "rn" else np.uint32(0)
    return np.where(np.isnan(x), np.uint32(0x7FFF), (bits + increment) >> np.uint32(16)).astype(np.uint16)


# Integers


def divide(a: Array, b: Array) -> Array:
    """Truncates toward zero. Division by zero gives all ones, as GPUs do (PTX leaves it unspecified)."""
    if a.dtype.kind == "u":
        return np.where(b == 0, ~a.dtype.type(0), a // np.where(b == 0, b.dtype.type(1), b))
    # On magnitudes, so that the most negative number divided by -1 wraps to itself.
    quotient = divide(magnitude(a), magnitude(b)).view(a.dtype)
    return np.where(b == 0, a.dtype.type(-1), np.where((a < 0) != (b < 0), -quotient, quotient))


def remainder(a: Array, b: Array) -> Array:
    """a - b * divide(a, b): takes the sign of `a`. By zero it gives `a`."""
    return np.where(b == 0, a, a - b * divide(a, b))


def unsigned(a: Array) -> Array:
    """The same bits as unsigned integers."""
    return a.view(f"u{a.dtype.itemsize}")


def magnitude(a: Array) -> Array:
    """|a| as unsigned, right for the most negative number too."""
    return np.abs(a).view(f"u{a.dtype.itemsize}")


def multiply_high(a: Array, b: Array) -> Array:
    """The upper half of the full product."""
    bits = a.dtype.itemsize * 8
    if bits < 64:
        wide = np.dtype(f"{a.dtype.kind}{a.dtype.itemsize * 2}")
        return (a.astype(wide) * b.astype(wide) >> wide.type(bits)).astype(a.dtype)
    ua, ub = a.view(np.uint64), b.view(np.uint64)
    half, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    a_high, a_low, b_high, b_low = ua >> half, ua & mask, ub >> half, ub & mask
    middle = a_high * b_low + (a_low * b_low >> half)
    carry = a_low * b_high + (middle & mask)
    high = a_high * b_high + (middle >> half) + (carry >> half)
    if a.dtype.kind == "i":
        zero = np.uint64(0)
        high = high - np.where(a < 0, ub, zero) - np.where(b < 0, ua, zero)
    return high.view(a.dtype)


def shift_left(a: Array, amount: Array) -> Array:
    """`amount` (uint32) of the width or more gives 0."""
    width = a.dtype.itemsize * 8
    shifted = a << np.minimum(amount, np.uint32(width - 1)).astype(a.dtype)
    return np.where(amount >= width, a.dtype.type(0), shifted)


def shift_right(a: Array, amount: Array) -> Array:
    """`amount` (uint32) of the width or more gives 0, or copies of the sign."""
    width = a.dtype.itemsize * 8
    shifted = a >> np.minimum(amount, np.uint32(width - 1)).astype(a.dtype)
    return shifted if a.dtype.kind == "i" else np.where(amount >= width, a.dtype.type(0), shifted)


def reverse_bits(a: Array) -> Array:
    """Bit i becomes bit width - 1 - i."""
    octets = np.ascontiguousarray(a).view(np.uint8).reshape(len(a), -1)
    bits = np.unpackbits(octets, axis=1, bitorder="little")
    return np.packbits(bits[:, ::-1], axis=1, bitorder="little").view(a.dtype).reshape(-1)


def count_leading_zeros(a: Array) -> Array:
    """uint32; the width for 0."""
    width = a.dtype.itemsize * 8
    # Halves are exact in float64, whose exponent is then the position of the top bit.
    top = (a >> a.dtype.type(32) if width == 64 else np.zeros_like(a)).astype(np.float64)
    low = (a & a.dtype.type(0xFFFFFFFF)).astype(np.float64)
    length = np.where(top > 0, np.frexp(top)[1] + 32, np.frexp(low)[1])
    return (width - length).astype(np.uint32)


def population_count(a: Array) -> Array:
    """uint32: the number of ones."""
    return np.bitwise_count(a).astype(np.uint32)


def find_top_bit(a: Array) -> Array:
    """uint32: position of the top bit that differs from the sign; 0xffffffff where there is none."""
    unsigned = (a ^ (a >> a.dtype.type(a.dtype.itemsize * 8 - 1))) if a.dtype.kind == "i" else a
    leading = count_leading_zeros(unsigned.view(f"u{a.dtype.itemsize}"))
    return np.uint32(a.dtype.itemsize * 8 - 1) - leading


def extract_field(a: Array, position: Array, length: Array) -> Array:
    """bfe: `length` bits from `position`, sign-extended for signed types."""
    width = a.dtype.itemsize * 8
    position, length = position & np.uint32(0xFF), length & np.uint32(0xFF)
    unsigned = a.view(f"u{a.dtype.itemsize}")
    available = np.uint32(width) - np.minimum(position, np.uint32(width))
    mask = ~shift_left(np.full_like(unsigned, ~unsigned.dtype.type(0)), np.minimum(length, available))
    field = shift_right(unsigned, position) & mask
    if a.dtype.kind == "u":
        return field
    # The sign is the field's top bit, or the source's own where the field reaches beyond it.
    sign_position = np.minimum(position + length - np.uint32(1), np.uint32(width - 1))
    negative = (shift_right(unsigned, sign_position) & unsigned.dtype.type(1)).astype(bool) & (length > 0)
    return np.where(negative, field | ~mask, field).view(a.dtype)


def insert_field(a: Array, b: Array, position: Array, length: Array) -> Array:
    """bfi: the low `length` bits of `a` placed at `position` of `b`."""
    position, length = position & np.uint32(0xFF), length & np.uint32(0xFF)
    mask = shift_left(~shift_left(np.full_like(b, ~b.dtype.type(0)), length), position)
    return (b & ~mask) | (shift_left(a, position) & mask)


def extend_bits(a: Array, width: Array, clamp: bool) -> Array:
    """szext: the low `width` bits, extended by zeros or by the sign. A width of 32 or more clamps or wraps."""
    keep = np.minimum(width, np.uint32(32)) if clamp else width & np.uint32(31)
    unused = np.uint32(32) - keep
    return shift_right(shift_left(unsigned(a), unused).view(a.dtype), unused)


def bit_mask(start: Array, width: Array, clamp: bool) -> Array:
    """bmsk: `width` ones from bit `start`. Numbers of 32 or more clamp, or wrap around."""
    if not clamp:
        start, width = start & np.uint32(31), width & np.uint32(31)
    ones = np.full(np.broadcast_shapes(start.shape, width.shape), 0xFFFFFFFF, np.uint32)
    return shift_left(~shift_left(ones, width), start)


def find_nth_set(mask: Array, base: Array, offset: Array) -> Array:
    """fns: the position of the |offset|-th one of `mask`, counted from bit `base` upwards, or downwards if
    offset is negative; 0 asks for the one at `base` itself. 0xffffffff where there is none."""
    shape = np.broadcast_shapes(mask.shape, base.shape, offset.shape)
    result = np.full(shape, 0xFFFFFFFF, np.uint32)
    step = np.where(offset < 0, -1, 1)
    remaining = np.maximum(np.abs(offset.astype(np.int64)), 1)
    for distance in range(32):
        position = base.astype(np.int64) + step * distance
        here = (base < 32) & (position >= 0) & (position < 32) & ((offset != 0) | (distance == 0))
        here = here & (mask.astype(np.int64) >> np.clip(position, 0, 31) & 1).astype(bool)
        remaining = remaining - here
        result = np.where(here & (remaining == 0), position.astype(np.uint32), result)
    return result


def logic3(a: Array, b: Array, c: Array, table: int) -> Array:
    """lop3: bit i of `table` is the result where (a, b, c) spell i in binary."""
    result = np.zeros_like(a & b & c)
    for minterm in range(8):
        if table >> minterm & 1:
            result |= (a if minterm & 4 else ~a) & (b if minterm & 2 else ~b) & (c if minterm & 1 else ~c)
    return result


_PERMUTE_MODES = {
    "f4e": [(0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (3, 4, 5, 6)],
    "b4e": [(0, 7, 6, 5), (1, 0, 7, 6), (2, 1, 0, 7), (3, 2, 1, 0)],
    "rc8": [(0, 0, 0, 0), (1, 1, 1, 1), (2, 2, 2, 2), (3, 3, 3, 3)],
    "ecl": [(0, 1, 2, 3), (1, 1, 2, 3), (2, 2, 2, 3), (3, 3, 3, 3)],
    "ecr": [(0, 0, 0, 0), (0, 1, 1, 1), (0, 1, 2, 2), (0, 1, 2, 3)],
    "rc16": [(0, 1, 0, 1), (2, 3, 2, 3), (0, 1, 0, 1), (2, 3, 2, 3)],
}
"""prmt: source byte of each result byte, by mode and by the low two bits of the selector."""


def permute_bytes(a: Array, b: Array, selector: Array, mode: str | None) -> Array:
    """prmt: picks 4 of the 8 bytes of {b, a}. Without a mode, bit 3 of a choice asks for the sign only."""
    pool = a.astype(np.uint64) | b.astype(np.uint64) << np.uint64(32)
    result = np.zeros(np.broadcast_shapes(pool.shape, selector.shape), np.uint32)
    for position in range(4):
        replicate_sign: Array | np.bool_ = np.bool_(False)
        if mode is None:
            choice = selector >> np.uint32(4 * position)
            replicate_sign = (choice & np.uint32(8)) != 0
            source = choice & np.uint32(7)
        else:
            rows = np.array(_PERMUTE_MODES[mode], np.uint32)
            source = rows[selector & np.uint32(3), position]
        byte = (pool >> (source.astype(np.uint64) * np.uint64(8)) & np.uint64(0xFF)).astype(np.uint32)
        sign = np.where(byte & np.uint32(0x80), np.uint32(0xFF), np.uint32(0))
        result |= np.where(replicate_sign, sign, byte) << np.uint32(8 * position)
    return result


def funnel_shift(low: Array, high: Array, amount: Array, left: bool, clamp: bool) -> Array:
    """shf: shifts the 64 bits {high, low} and takes the upper (left) or lower (right) 32."""
    amount = np.minimum(amount, np.uint32(32)) if clamp else amount & np.uint32(31)
    joined = high.astype(np.uint64) << np.uint64(32) | low
    if left:
        return (joined << amount.astype(np.uint64) >> np.uint64(32)).astype(np.uint32)
    return (joined >> amount.astype(np.uint64)).astype(np.uint32)
