"""Integer arithmetic and operations on bits that NumPy lacks or defines differently from PTX.

Every function takes and returns NumPy arrays, one element a lane.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray


def saturate_integer(x: Array, dtype: np.dtype) -> Array:
    """Integer conversion with `.sat`: clamp to the range of `dtype`."""
    source, target = np.iinfo(x.dtype), np.iinfo(dtype)
    low, high = max(source.min, target.min), min(source.max, target.max)
    return np.clip(x, x.dtype.type(low), x.dtype.type(high)).astype(dtype)


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


PERMUTE_MODES = {
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
            rows = np.array(PERMUTE_MODES[mode], np.uint32)
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
