"""Rounding as LLVM's plain arithmetic does not do it: in directions, to odd, and to formats that it lacks."""

from __future__ import annotations

from llvmlite import ir
from llvmlite.ir import Value

I16, I32, I64 = (ir.IntType(bits) for bits in (16, 32, 64))
F32, F64 = ir.FloatType(), ir.DoubleType()


def _number(kind: ir.Type, number: int) -> Value:
    return ir.Constant(kind, number & (1 << kind.width) - 1)


def _magnitude(b: ir.IRBuilder, x: Value) -> Value:
    """The bits of |x|, of a double. They are ordered as the numbers are, with NaNs above them all."""
    return b.and_(b.bitcast(x, I64), _number(I64, (1 << 63) - 1))


# To odd: rounding the result again, to at least two bits fewer, gives what rounding once gives. See softgpu.floats.


def add_to_odd(b: ir.IRBuilder, x: Value, y: Value) -> Value:
    """x + y as a double rounded to odd, with the error of the sum as Knuth finds it."""
    total = b.fadd(x, y)
    virtual = b.fsub(total, x)
    error = b.fadd(b.fsub(x, b.fsub(total, virtual)), b.fsub(y, virtual))
    bits, zero = b.bitcast(total, I64), ir.Constant(F64, 0.0)
    inexact = b.fcmp_ordered("!=", error, zero)
    even = b.icmp_unsigned("==", b.and_(bits, _number(I64, 1)), _number(I64, 0))
    outward = b.icmp_unsigned("==", b.fcmp_ordered(">", error, zero), b.fcmp_ordered(">", total, zero))
    stepped = b.add(bits, b.select(outward, _number(I64, 1), _number(I64, -1)))
    return b.bitcast(b.select(b.and_(inexact, even), stepped, bits), F64)


def float_to_odd(b: ir.IRBuilder, x: Value) -> Value:
    """The bits of a double rounded to float, to odd."""
    nearest = b.fptrunc(x, F32)
    back = b.fpext(nearest, F64)
    inexact = b.fcmp_ordered("!=", back, x)
    larger = b.and_(inexact, b.icmp_unsigned(">", _magnitude(b, back), _magnitude(b, x)))
    toward_zero = b.sub(b.bitcast(nearest, I32), b.zext(larger, I32))
    return b.or_(toward_zero, b.zext(inexact, I32))


# To formats that are floats with fewer bits, or of 16 bits


def shorten(b: ir.IRBuilder, bits: Value, dropped: int, mode: str) -> Value:
    """The bits of a float without the lowest, rounded in a mode or "rna" (ties away from zero). A NaN becomes
    0x7fffffff without them."""
    unit = _number(I32, 1 << dropped)
    lowest = b.and_(b.lshr(bits, _number(I32, dropped)), _number(I32, 1))
    positive = b.icmp_signed(">=", bits, _number(I32, 0))
    rest, none = _number(I32, (1 << dropped) - 1), _number(I32, 0)
    increment = {
        "rn": lambda: b.add(lowest, _number(I32, (1 << dropped - 1) - 1)),
        "rna": lambda: _number(I32, 1 << dropped - 1),
        "rz": lambda: none,
        "rm": lambda: b.select(positive, none, rest),
        "rp": lambda: b.select(positive, rest, none),
    }[mode]()
    kept = b.and_(b.add(bits, increment), b.neg(unit))
    nan = b.icmp_unsigned(">", b.and_(bits, _number(I32, 0x7FFFFFFF)), _number(I32, 0x7F800000))
    return b.select(nan, _number(I32, 0x7FFFFFFF & -(1 << dropped)), kept)


def double_to_bfloat(b: ir.IRBuilder, x: Value, mode: str = "rn") -> Value:
    """The 16 bits of a double rounded to bf16; NaN becomes 0x7fff."""
    bits = shorten(b, float_to_odd(b, x), 16, mode)
    return b.trunc(b.lshr(bits, _number(I32, 16)), I16)


def bfloat_to_double(b: ir.IRBuilder, bits: Value) -> Value:
    return b.fpext(b.bitcast(b.shl(b.zext(bits, I32), _number(I32, 16)), F32), F64)


def step(b: ir.IRBuilder, bits: Value, nearest: Value, exact: Value, mode: str) -> Value:
    """From the bits of the nearest number of a format to those that a directed mode asks for. `nearest` and `exact` are
    doubles."""
    inexact = b.fcmp_ordered("!=", nearest, exact)
    larger = b.icmp_unsigned(">", _magnitude(b, nearest), _magnitude(b, exact))
    negative = b.icmp_signed("<", b.bitcast(exact, I64), _number(I64, 0))
    one = _number(bits.type, 1)
    inward, outward = b.select(larger, b.sub(bits, one), bits), b.select(larger, bits, b.add(bits, one))
    directed = inward
    if mode != "rz":
        directed = b.select(negative, outward, inward) if mode == "rm" else b.select(negative, inward, outward)
    return b.select(inexact, directed, bits)


# Directed rounding by the processor

_MODES = {"rz": 0, "rn": 1, "rp": 2, "rm": 3}
"""As llvm.set.rounding numbers them."""
_SUFFIXES = {"float": "f32", "double": "f64"}


def directed_name(operation: str, mode: str, kind: str) -> str:
    return f"{operation}.{mode}.{_SUFFIXES[kind]}"


def directed_definition(operation: str, mode: str, kind: str, operands: int) -> str:
    """LLVM's text of a function that does one operation in a rounding mode: "fadd", ... of floats or doubles, or
    "fptrunc" from double to float. It must not be inlined: only within it does LLVM expect another mode.
    """
    source = "double" if operation == "fptrunc" else kind
    suffix = "f32.f64" if operation == "fptrunc" else _SUFFIXES[kind]
    types = ", ".join([source] * operands)
    values = ", ".join(f"{source} %x{number}" for number in range(operands))
    intrinsic = f"@llvm.experimental.constrained.{operation}.{suffix}"
    return f"""
declare void @llvm.set.rounding(i32)
declare {kind} {intrinsic}({types}, metadata, metadata)
define {kind} @{directed_name(operation, mode, kind)}({values}) noinline strictfp {{
  call void @llvm.set.rounding(i32 {_MODES[mode]}) strictfp
  %result = call {kind} {intrinsic}({values}, metadata !"round.dynamic", metadata !"fpexcept.strict") strictfp
  call void @llvm.set.rounding(i32 {_MODES["rn"]}) strictfp
  ret {kind} %result
}}
"""
