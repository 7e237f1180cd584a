"""What each register-to-register instruction must give for one lane: the PTX ISA in exact Python arithmetic.

Written from the manual, and with nothing of softgpu: integers are Python's, real numbers are Fractions that are
rounded here, bit by bit where the manual spells out bits. `expected` takes and returns register contents.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from fractions import Fraction

FLOAT = {
    # kind: bits of precision, exponent of the smallest subnormal, largest number, canonical NaN
    "f16": (11, -24, 65504.0, 0x7FFF),
    "bf16": (8, -133, float.fromhex("0x1.fep127"), 0x7FFF),
    "tf32": (11, -136, float.fromhex("0x1.ffcp127"), 0x7FFFFFFF),
    "f32": (24, -149, float.fromhex("0x1.fffffep127"), 0x7FFFFFFF),
    "f64": (53, -1074, float.fromhex("0x1.fffffffffffffp1023"), 0x7FF8000000000000),
    "e4m3": (4, -9, 448.0, 0x7F),
    "e5m2": (3, -16, 57344.0, 0x7F),
}
MODES = {"rn", "rz", "rm", "rp", "rna"}


def width(kind: str) -> int:
    """Bits of a type."""
    special = {"pred": 1, "bf16": 16, "f16x2": 32, "bf16x2": 32, "u16x2": 32, "s16x2": 32, "tf32": 32}
    return special.get(kind) or (16 if kind in ("e4m3x2", "e5m2x2") else int(kind[1:]))


def decode(bits: int, kind: str) -> int | float:
    """Register contents to a number."""
    if kind in FLOAT:
        form = {"f16": "<He", "f32": "<If", "f64": "<Qd"}.get(kind)
        if form:
            return struct.unpack(f"<{form[2]}", struct.pack(f"<{form[1]}", bits))[0]
        return decode(bits << 16 if kind == "bf16" else bits, "f32")
    bits &= (1 << width(kind)) - 1
    return bits - (1 << width(kind)) if kind[0] == "s" and bits >> width(kind) - 1 else bits


def encode(value: int | float, kind: str) -> int:
    """A number that the type can hold to register contents; NaN is the canonical one."""
    if kind not in FLOAT:
        return int(value) & (1 << width(kind)) - 1
    if math.isnan(value):
        return FLOAT[kind][3]
    form = {"f16": "<He", "f64": "<Qd"}.get(kind, "<If")
    bits = struct.unpack(f"<{form[1]}", struct.pack(f"<{form[2]}", value))[0]
    return bits >> 16 if kind == "bf16" else bits


# Rounding


def round_real(value: Fraction, kind: str, mode: str = "rn") -> float:
    """A real number other than 0 in a format, in a rounding mode ("rna": ties away from zero)."""
    precision, smallest, largest, _ = FLOAT[kind]
    negative, magnitude = value < 0, abs(value)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    exponent -= magnitude < Fraction(2) ** exponent
    unit = max(exponent - precision + 1, smallest)
    steps, rest = divmod(magnitude / Fraction(2) ** unit, 1)
    upwards = {
        "rn": rest > Fraction(1, 2) or (rest == Fraction(1, 2) and steps % 2 == 1),
        "rna": rest >= Fraction(1, 2),
        "rz": False,
        "rm": negative and rest > 0,
        "rp": not negative and rest > 0,
    }[mode]
    rounded = (steps + upwards) * Fraction(2) ** unit
    if rounded > Fraction(largest):
        result = math.inf if mode in ("rn", "rna") or upwards or mode == ("rm" if negative else "rp") else largest
    else:
        result = float(rounded)
    return -result if negative else result


def _sticky_root(value: Fraction) -> Fraction:
    """sqrt(value) to 300 bits, and half a unit more where that is not exact: rounds as the root itself does."""
    scale = 300 - (value.numerator.bit_length() - value.denominator.bit_length()) // 2
    squared = value * Fraction(4) ** scale
    root = math.isqrt(squared.numerator // squared.denominator)
    inexact = Fraction(root) ** 2 != squared
    return (Fraction(root) + Fraction(inexact, 2)) / Fraction(2) ** scale


def add(a: float, b: float, kind: str, mode: str) -> float:
    if not (math.isfinite(a) and math.isfinite(b)):
        return a + b
    total = Fraction(a) + Fraction(b)
    return round_real(total, kind, mode) if total else _zero_sum(a, b, mode)


def _zero_sum(a: float, b: float, mode: str) -> float:
    signs = {math.copysign(1, a), math.copysign(1, b)}
    if len(signs) == 1 and a == 0:
        return a
    return -0.0 if mode == "rm" else 0.0


def multiply(a: float, b: float, kind: str, mode: str) -> float:
    sign = math.copysign(1, a) * math.copysign(1, b)
    if math.isnan(a) or math.isnan(b) or (math.inf in (abs(a), abs(b)) and 0 in (a, b)):
        return math.nan
    if math.inf in (abs(a), abs(b)):
        return sign * math.inf
    product = Fraction(a) * Fraction(b)
    return round_real(product, kind, mode) if product else sign * 0.0


def fma(a: float, b: float, c: float, kind: str, mode: str) -> float:
    if not all(map(math.isfinite, (a, b, c))):
        product = multiply(a, b, "f64", "rz")
        return product + c
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact:
        return round_real(exact, kind, mode)
    sign = math.copysign(1, a) * math.copysign(1, b)
    return _zero_sum(sign * (0.0 if 0 in (a, b) else 1.0), c, mode)


def divide(a: float, b: float, kind: str, mode: str) -> float:
    sign = math.copysign(1, a) * math.copysign(1, b)
    if math.isnan(a) or math.isnan(b) or (a == 0 and b == 0) or (math.isinf(a) and math.isinf(b)):
        return math.nan
    if b == 0 or math.isinf(a):
        return sign * math.inf
    if a == 0 or math.isinf(b):
        return sign * 0.0
    return round_real(Fraction(a) / Fraction(b), kind, mode)


def square_root(a: float, kind: str, mode: str) -> float:
    if math.isnan(a) or a < 0:
        return math.nan
    return a if a == 0 or math.isinf(a) else round_real(_sticky_root(Fraction(a)), kind, mode)


def flush(x: float, kind: str) -> float:
    precision, smallest, _, _ = FLOAT[kind]
    return math.copysign(0.0, x) if abs(x) < math.ldexp(1.0, smallest + precision - 1) else x


def saturate(x: float) -> float:
    return min(x, 1.0) if x > 0 else 0.0


def rectify(x: float) -> float:
    return 0.0 if x <= 0 else x


# Instructions: expected(opcode, words, sources) -> a list of register contents


def truncated(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def clamp(value: int, kind: str) -> int:
    bits = width(kind)
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if kind[0] == "s" else (0, (1 << bits) - 1)
    return max(low, min(high, value))


def _bits(value: int, first: int, count: int, is_signed: bool) -> int:
    field = value >> first & (1 << count) - 1
    return field - (1 << count) if is_signed and field >> count - 1 else field


def _integer(opcode: str, words: list[str], kind: str, x: list[int]) -> int | None:
    bits = width(kind)
    high = bits if "hi" in words else 0
    match opcode:
        case "add" | "sub":
            total = x[0] + x[1] if opcode == "add" else x[0] - x[1]
            return clamp(total, kind) if "sat" in words else total
        case "mul":
            return x[0] * x[1] >> high
        case "mad":
            total = (x[0] * x[1] >> high) + x[2]
            return clamp(total, kind) if "sat" in words else total
        case "mul24" | "mad24":
            a, b = (_bits(v, 0, 24, kind[0] == "s") for v in x[:2])
            product = decode(a * b >> (16 if "hi" in words else 0), kind)
            total = product + (x[2] if opcode == "mad24" else 0)
            return clamp(total, kind) if "sat" in words else total
        case "sad":
            return x[2] + abs(x[0] - x[1])
        case "div":
            return truncated(x[0], x[1]) if x[1] else -1
        case "rem":
            return x[0] - x[1] * truncated(x[0], x[1]) if x[1] else x[0]
        case "abs":
            return abs(x[0])
        case "neg":
            return -x[0]
        case "min" | "max":
            result = (min if opcode == "min" else max)(x[0], x[1])
            return max(result, 0) if "relu" in words else result
        case "and":
            return x[0] & x[1]
        case "or":
            return x[0] | x[1]
        case "xor":
            return x[0] ^ x[1]
        case "not":
            return ~x[0]
        case "cnot":
            return int(x[0] == 0)
        case "shl":
            return x[0] << min(x[1], bits)
        case "shr":
            return x[0] >> min(x[1], bits)
        case "bfe":
            position, length = x[1] & 255, x[2] & 255
            unsigned = x[0] & (1 << bits) - 1
            sign = unsigned >> min(position + length - 1, bits - 1) & 1 if kind[0] == "s" and length else 0
            chosen = [unsigned >> position + i & 1 if i < length and position + i < bits else sign for i in range(bits)]
            return sum(bit << i for i, bit in enumerate(chosen))
        case "bfi":
            position, length = x[2] & 255, x[3] & 255
            result = x[1]
            for i in range(length):
                if position + i < bits:
                    result = result & ~(1 << position + i) | (x[0] >> i & 1) << position + i
            return result
        case "brev":
            return int(f"{x[0]:0{bits}b}"[::-1], 2)
        case "clz":
            return bits - x[0].bit_length()
        case "popc":
            return x[0].bit_count()
        case "bfind":
            magnitude = ~x[0] if x[0] < 0 else x[0]
            position = magnitude.bit_length() - 1
            return bits - 1 - position if "shiftamt" in words and position >= 0 else position
        case "szext":
            mode, count = words[0], x[1]
            if mode == "clamp" and count >= 32:
                return x[0]
            count &= 31
            return _bits(x[0], 0, count, kind == "s32") if count else 0
        case "bmsk":
            start, count = x
            if words[0] == "wrap":
                start, count = start & 31, count & 31
            return sum(1 << i for i in range(32) if start <= i < start + count)
        case "fns":
            mask, base, offset = x
            if offset == 0:
                return base if base < 32 and mask >> base & 1 else -1
            position, left = base, abs(offset)
            while 0 <= position < 32:
                left -= mask >> position & 1
                if left == 0:
                    return position
                position += 1 if offset > 0 else -1
            return -1
        case "dp4a":
            a, b = ([_bits(v, 8 * i, 8, words[j][0] == "s") for i in range(4)] for j, v in enumerate(x[:2]))
            return sum(p * q for p, q in zip(a, b, strict=True)) + x[2]
        case "dp2a":
            a = [_bits(x[0], 16 * i, 16, words[1][0] == "s") for i in range(2)]
            first = 0 if words[0] == "lo" else 2
            b = [_bits(x[1], 8 * (first + i), 8, words[2][0] == "s") for i in range(2)]
            return a[0] * b[0] + a[1] * b[1] + x[2]
        case "prmt":
            return _permute(x, words[1] if len(words) > 1 else "")
        case "shf":
            joined, amount = x[1] << 32 | x[0], min(x[2], 32) if "clamp" in words else x[2] & 31
            return joined << amount >> 32 if words[0] == "l" else joined >> amount
    return None


def _permute(x: list[int], mode: str) -> int:
    pool = [(x[1] << 32 | x[0]) >> 8 * i & 255 for i in range(8)]
    n = x[2] & 3
    if not mode:
        choices = [x[2] >> 4 * i & 15 for i in range(4)]
        chosen = [255 * (pool[c & 7] >> 7) if c & 8 else pool[c] for c in choices]
    else:
        chosen = [
            pool[
                {
                    "f4e": n + i,
                    "b4e": (n - i) % 8,
                    "rc8": n,
                    "ecl": max(i, n),
                    "ecr": min(i, n),
                    "rc16": 2 * (n & 1) + (i & 1),
                }[mode]
            ]
            for i in range(4)
        ]
    return sum(byte << 8 * i for i, byte in enumerate(chosen))


def _floating(opcode: str, words: list[str], x: list[float]) -> float | None:
    """Instructions with one exact result. None: not one of them."""
    kind = words[-1]
    mode = next((word for word in words if word in MODES), "rn")
    if "ftz" in words:
        x = [flush(value, kind) for value in x]
    result = _operation(opcode, words, x, kind, mode)
    if result is None:
        return None
    if "ftz" in words:
        result = flush(result, kind)
    if "sat" in words:
        result = saturate(result)
    return rectify(result) if "relu" in words else result


def _operation(opcode: str, words: list[str], x: list[float], kind: str, mode: str) -> float | None:
    match opcode:
        case "add":
            return add(x[0], x[1], kind, mode)
        case "sub":
            return add(x[0], -x[1], kind, mode)
        case "mul":
            return multiply(x[0], x[1], kind, mode)
        case "fma" | "mad":
            return fma(x[0], x[1], x[2], kind, mode)
        case "div" if not {"approx", "full"} & set(words):
            return divide(x[0], x[1], kind, mode)
        case "rcp" if "approx" not in words:
            return divide(1.0, x[0], kind, mode)
        case "sqrt" if "approx" not in words:
            return square_root(x[0], kind, mode)
        case "neg":
            return -x[0]
        case "abs":
            return abs(x[0])
        case "copysign":
            return math.copysign(x[1], x[0])
        case "min" | "max":
            return _extremum(opcode, words, x[0], x[1])
    return None


def _extremum(opcode: str, words: list[str], a: float, b: float) -> float:
    sign = math.copysign(1, a) * math.copysign(1, b)
    if "xorsign" in words:
        a, b = abs(a), abs(b)
    if math.isnan(a) or math.isnan(b):
        result = math.nan if "NaN" in words or (math.isnan(a) and math.isnan(b)) else b if math.isnan(a) else a
    else:
        result = (min if opcode == "min" else max)(a, b, key=lambda v: (v, math.copysign(1, v)))
    return math.copysign(result, sign) if "xorsign" in words and not math.isnan(result) else result


def _pi_free(function: Callable[[float], float]) -> Callable[[float], float]:
    return lambda x: math.nan if math.isinf(x) or math.isnan(x) else function(x)


def _logarithm(x: float) -> float:
    return -math.inf if x == 0 else math.nan if x < 0 or math.isnan(x) else math.log2(x)


def _exponential(x: float) -> float:
    return math.inf if x > 1024 else 0.0 if x < -1100 else math.pow(2.0, x) if x < 1023.99 else 2 * math.pow(2, x - 1)


APPROXIMATIONS: dict[str, tuple[Callable[[float], float], float, float]] = {
    # the function, and the largest relative and absolute error for f32 (PTX ISA 9.7.3)
    "rcp": (lambda x: divide(1.0, x, "f64", "rn"), 2.0**-23, 0),
    "sqrt": (lambda x: square_root(x, "f64", "rn"), 2.0**-23, 0),
    "rsqrt": (lambda x: divide(1.0, square_root(x, "f64", "rn"), "f64", "rn"), 2.0**-22.9, 0),
    "sin": (_pi_free(math.sin), 0, 2.0**-20.5),
    "cos": (_pi_free(math.cos), 0, 2.0**-20.5),
    "lg2": (_logarithm, 2.0**-22, 2.0**-22),
    "ex2": (_exponential, 2.0**-22, 0),
    "tanh": (math.tanh, 2.0**-11, 0),
}
RELATIVE_ERROR = {"f16": 2.0**-9.9, "bf16": 2.0**-7}


def approximation(opcode: str, words: list[str], x: list[float]) -> tuple[float, float] | None:
    """The exact result of an approximate instruction, and how far off it may be. None: it is not approximate."""
    kind = words[-1]
    if "ftz" in words:
        x = [flush(value, kind) for value in x]
    if opcode == "div":
        if "approx" in words and 2.0**126 < abs(x[1]) < math.inf:
            exact = multiply(x[0], math.copysign(0.0, x[1]), kind, "rn")
        else:
            exact = divide(x[0], x[1], "f64", "rn")
        relative, absolute = 2.0**-22, 0.0
    else:
        function, relative, absolute = APPROXIMATIONS[opcode]
        exact = function(x[0])
    if kind == "f64":
        # The ftz forms compute with the upper 32 bits alone.
        relative = 2.0**-19 if "ftz" in words else 2.0**-46
    relative = RELATIVE_ERROR.get(kind, relative)
    if "ftz" in words:
        exact = flush(exact, kind)
    _, smallest, largest, _ = FLOAT[kind]
    if abs(exact) > largest and math.isfinite(exact):
        exact = math.copysign(math.inf, exact)
    spacing = math.ldexp(1.0, smallest)
    error = 0.0 if not math.isfinite(exact) else max(abs(exact) * relative, absolute, spacing)
    return exact, error


COMPARISONS = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
}
COMPARISONS |= {"lo": COMPARISONS["lt"], "ls": COMPARISONS["le"], "hi": COMPARISONS["gt"], "hs": COMPARISONS["ge"]}


def compare(name: str, a: int | float, b: int | float) -> bool:
    unordered = a != a or b != b
    if name in ("num", "nan"):
        return unordered == (name == "nan")
    if name in COMPARISONS:
        return not unordered and COMPARISONS[name](a, b)
    return unordered or COMPARISONS[name[:-1]](a, b)


def combine(name: str, p: bool, q: bool) -> bool:
    return {"and": p and q, "or": p or q, "xor": p != q}[name]


def convert(words: list[str], bits: int) -> int:
    """cvt with one source."""
    target, source = words[-2:]
    value = decode(bits, source)
    mode = next((word for word in words if word in MODES), "rn")
    integral = next((word[:2] for word in words if word in ("rni", "rzi", "rmi", "rpi")), None)
    if source == "f32" and "ftz" in words:
        value = flush(value, "f32")
    if target not in FLOAT:
        return encode(_to_integer(value, target, source, integral, "sat" in words), target)
    if source == "bf16" and target == "f32":
        return encode(flush(value, "f32"), "f32") if "ftz" in words else bits << 16
    if isinstance(value, float) and not math.isfinite(value):
        result = value
    elif integral:
        whole = {"rn": round, "rz": math.trunc, "rm": math.floor, "rp": math.ceil}[integral](value)
        result = math.copysign(float(whole), value)
    elif value == 0:
        result = float(value)
    else:
        result = round_real(Fraction(value), target, mode)
    if "ftz" in words and target == "f32":
        result = flush(result, target)
    if "sat" in words:
        result = saturate(result)
    if "relu" in words:
        result = rectify(result)
    if "satfinite" in words and math.isinf(result):
        result = math.copysign(FLOAT[target][2], result)
    return encode(result, target)


def _to_integer(value: int | float, target: str, source: str, integral: str | None, saturates: bool) -> int:
    if source not in FLOAT:
        return clamp(value, target) if saturates else value
    if math.isnan(value):
        return 1 << width(target) - 1 if source == "f64" or width(target) == 64 else 0
    if math.isinf(value):
        return clamp(1 << 70 if value > 0 else -(1 << 70), target)
    return clamp({"rn": round, "rz": math.trunc, "rm": math.floor, "rp": math.ceil}[integral](value), target)


def eight_bit_value(code: int, kind: str) -> float:
    """The value of a code of e4m3 or e5m2 (OCP 8-bit floating point specification)."""
    mantissa_bits, bias = (3, 7) if kind == "e4m3" else (2, 15)
    sign = -1.0 if code & 0x80 else 1.0
    exponent, mantissa = (code & 0x7F) >> mantissa_bits, code & (1 << mantissa_bits) - 1
    if kind == "e4m3" and code & 0x7F == 0x7F:
        return math.nan
    if kind == "e5m2" and exponent == 31:
        return math.nan if mantissa else sign * math.inf
    if exponent == 0:
        return sign * math.ldexp(mantissa, 1 - bias - mantissa_bits)
    return sign * math.ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits)


def to_eight_bits(value: float, kind: str, relu: bool) -> int:
    """The code of the nearest finite number, ties to the even code."""
    if math.isnan(value):
        return 0x7F
    if relu:
        value = rectify(value)
    magnitude = Fraction(min(abs(value), 1e6))
    finite = [code for code in range(128) if math.isfinite(eight_bit_value(code, kind))]
    nearest = min(finite, key=lambda code: (abs(Fraction(eight_bit_value(code, kind)) - magnitude), code & 1))
    return nearest | (0x80 if math.copysign(1, value) < 0 else 0)


def expected(opcode: str, words: list[str], kinds: list[str], sources: list[int]) -> list[int | tuple[float, float]]:
    """The destinations of one lane, given register contents: bits each, or a number and how far off it may be.

    `kinds` are the types of the sources. A predicate is 0 or 1. Raises NotImplementedError for what it lacks.
    """
    kind = "b32" if opcode == "prmt" else words[-1]
    if opcode in ("setp", "set"):
        return _comparison(opcode, words, sources)
    if opcode == "cvt":
        return [_conversion(words, sources)]
    if opcode == "selp":
        return [sources[0] if sources[2] else sources[1]]
    if opcode == "slct":
        condition = decode(sources[2], kind)
        if "ftz" in words:
            condition = flush(condition, kind)
        return [sources[0] if condition >= 0 else sources[1]]
    if opcode == "testp":
        return [int(_property(words[0], decode(sources[0], kind), kind))]
    if kind.endswith("x2"):
        return [_by_halves(opcode, words, kinds, sources)]
    values = [decode(bits, name) for bits, name in zip(sources, kinds, strict=True)]
    if kind not in FLOAT:
        result = _integer(opcode, words, kind, values)
        if result is None:
            raise NotImplementedError(opcode)
        return [result]
    result = _floating(opcode, words, values)
    return [approximation(opcode, words, values)] if result is None else [encode(result, kind)]


def _by_halves(opcode: str, words: list[str], kinds: list[str], sources: list[int]) -> int | list:
    half = [word.removesuffix("x2") for word in words]
    results = []
    for shift in (0, 16):
        parts = [bits >> shift & 0xFFFF for bits in sources]
        results += expected(opcode, half, [name.removesuffix("x2") for name in kinds], parts)
    if isinstance(results[0], tuple):
        return results
    low, high = (bits & 0xFFFF for bits in results)
    return high << 16 | low


def _comparison(opcode: str, words: list[str], sources: list[int]) -> list[int]:
    kind, name = words[-1].removesuffix("x2"), words[0]
    combination = next((word for word in words if word in ("and", "or", "xor")), None)
    halves = (0, 16) if words[-1].endswith("x2") else (0,)
    results = []
    for shift in halves:
        a, b = (decode(bits >> shift & (1 << width(kind)) - 1, kind) for bits in sources[:2])
        if "ftz" in words:
            a, b = flush(a, kind), flush(b, kind)
        results.append(compare(name, a, b))
    if opcode == "setp" and len(halves) == 1:
        results.append(not results[0])
    if combination:
        results = [combine(combination, result, bool(sources[2])) for result in results]
    if opcode == "setp":
        return list(map(int, results))
    target = words[-2].removesuffix("x2")
    yes = encode(1.0, target) if target in FLOAT else (1 << (16 if len(halves) == 2 else width(target))) - 1
    return [sum(yes << shift for shift, result in zip(halves, results, strict=True) if result)]


def _property(name: str, x: float, kind: str) -> bool:
    is_subnormal = x != 0 and flush(x, kind) == 0
    return {
        "finite": math.isfinite(x),
        "infinite": math.isinf(x),
        "number": not math.isnan(x),
        "notanumber": math.isnan(x),
        "normal": math.isfinite(x) and x != 0 and not is_subnormal,
        "subnormal": is_subnormal,
    }[name]


def _conversion(words: list[str], sources: list[int]) -> int:
    if words[0] == "pack":
        convert_to = words[2]
        bits = int(convert_to[1:])
        upper, lower = (clamp(decode(x, "s32"), convert_to) & (1 << bits) - 1 for x in sources[:2])
        return upper << bits | lower | (sources[2] << 2 * bits if len(sources) == 3 else 0)
    target, source = words[-2:]
    relu = "relu" in words
    if target in ("e4m3x2", "e5m2x2"):
        values = [decode(x, "f32") for x in sources]
        if source == "f16x2":
            values = [decode(sources[0] >> shift & 0xFFFF, "f16") for shift in (16, 0)]
        high, low = (to_eight_bits(value, target[:4], relu) for value in values)
        return high << 8 | low
    if source in ("e4m3x2", "e5m2x2"):
        values = [eight_bit_value(sources[0] >> shift & 0xFF, source[:4]) for shift in (8, 0)]
        high, low = (encode(rectify(value) if relu else value, "f16") for value in values)
        return high << 16 | low
    if target.endswith("x2"):
        high, low = (convert([*words[:-2], target[:-2], source], x) for x in sources)
        return high << 16 | low
    return convert(words, sources[0])
