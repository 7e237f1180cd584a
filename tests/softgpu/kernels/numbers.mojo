"""Kernels about arithmetic: number formats, functions, integer division, bits, random numbers. One result a thread."""

from max.gpu import block_dim, global_idx, grid_dim, thread_idx
from max.gpu.host import DeviceContext
from std.bit import bit_reverse, byte_swap, count_leading_zeros, count_trailing_zeros, pop_count, rotate_bits_left
from std.math import (
    acos, atan, atan2, cbrt, ceil, ceildiv, copysign, cos, erf, exp, exp2, expm1, floor, fma, hypot, log, log10, log1p,
    log2, recip, rsqrt, sin, sqrt, tanh, trunc,
)
from std.memory import Pointer, bitcast
from std.random.philox import Random

comptime Floats = Pointer[Float32, MutAnyOrigin]
comptime Doubles = Pointer[Float64, MutAnyOrigin]
comptime Halves = Pointer[Float16, MutAnyOrigin]
comptime BFloats = Pointer[BFloat16, MutAnyOrigin]
comptime Ints = Pointer[Int32, MutAnyOrigin]
comptime UInts = Pointer[UInt32, MutAnyOrigin]
comptime Longs = Pointer[Int64, MutAnyOrigin]
comptime ULongs = Pointer[UInt64, MutAnyOrigin]


def float_functions(output: Floats, a: Floats, n: Int32):
    """Rows of n: exp, log, sin, cos, tanh, sqrt, rsqrt, erf, exp2, log2, four roundings, log1p, expm1, 1/x."""
    var i = global_idx.x
    var m = Int(n)
    if i >= m:
        return
    var x = a[i]
    var positive = abs(x) + 0.25
    output[i] = exp(x)
    output[m + i] = log(positive)
    output[2 * m + i] = sin(x)
    output[3 * m + i] = cos(x)
    output[4 * m + i] = tanh(x)
    output[5 * m + i] = sqrt(positive)
    output[6 * m + i] = rsqrt(positive)
    output[7 * m + i] = erf(x)
    output[8 * m + i] = exp2(x)
    output[9 * m + i] = log2(positive)
    output[10 * m + i] = floor(x)
    output[11 * m + i] = ceil(x)
    output[12 * m + i] = trunc(x)
    output[13 * m + i] = round(x)
    output[14 * m + i] = log1p(positive)
    output[15 * m + i] = expm1(x)
    output[16 * m + i] = recip(positive)


def float_powers(output: Floats, a: Floats, b: Floats, n: Int32):
    """Rows of n: |a| ** b, a ** 3, atan2, hypot, copysign, fma, a % b, a // b, cbrt, a / b, min, max."""
    var i = global_idx.x
    var m = Int(n)
    if i >= m:
        return
    var x = a[i]
    var y = b[i]
    output[i] = (abs(x) + 0.25) ** y
    output[m + i] = x**3
    output[2 * m + i] = atan2(x, y)
    output[3 * m + i] = hypot(x, y)
    output[4 * m + i] = copysign(x, y)
    output[5 * m + i] = fma(x, y, Float32(0.1))
    output[6 * m + i] = x % y
    output[7 * m + i] = x // y
    output[8 * m + i] = cbrt(x)
    output[9 * m + i] = x / y
    output[10 * m + i] = min(x, y)
    output[11 * m + i] = max(x, y)


def double_functions(output: Doubles, a: Doubles, n: Int32):
    """Rows of n: exp, sqrt, 1/x, x*x + x, floor, the fraction, float32 and back."""
    var i = global_idx.x
    var m = Int(n)
    if i >= m:
        return
    var x = a[i]
    output[i] = exp(x)
    output[m + i] = sqrt(abs(x))
    output[2 * m + i] = 1 / x
    output[3 * m + i] = fma(x, x, x)
    output[4 * m + i] = floor(x)
    output[5 * m + i] = x - trunc(x)
    output[6 * m + i] = x.cast[DType.float32]().cast[DType.float64]()


def half_arithmetic(output: Halves, a: Halves, b: Halves, n: Int32):
    """Two elements a thread, as vectors. Rows of 2n: sum, difference, product, quotient, min, max, fma, -|a|."""
    var i = 2 * global_idx.x
    var m = 2 * Int(n)
    if i >= m:
        return
    var x = a.unsafe_load[width=2, alignment=4](i)
    var y = b.unsafe_load[width=2, alignment=4](i)
    output.unsafe_store[alignment=4](i, x + y)
    output.unsafe_store[alignment=4](m + i, x - y)
    output.unsafe_store[alignment=4](2 * m + i, x * y)
    output.unsafe_store[alignment=4](3 * m + i, x / y)
    output.unsafe_store[alignment=4](4 * m + i, min(x, y))
    output.unsafe_store[alignment=4](5 * m + i, max(x, y))
    output.unsafe_store[alignment=4](6 * m + i, fma(x, y, x))
    output.unsafe_store[alignment=4](7 * m + i, -abs(x))


def bfloat_arithmetic(output: BFloats, a: BFloats, b: BFloats, n: Int32):
    """As `half_arithmetic`, in bfloat16."""
    var i = 2 * global_idx.x
    var m = 2 * Int(n)
    if i >= m:
        return
    var x = a.unsafe_load[width=2, alignment=4](i)
    var y = b.unsafe_load[width=2, alignment=4](i)
    output.unsafe_store[alignment=4](i, x + y)
    output.unsafe_store[alignment=4](m + i, x - y)
    output.unsafe_store[alignment=4](2 * m + i, x * y)
    output.unsafe_store[alignment=4](3 * m + i, x / y)
    output.unsafe_store[alignment=4](4 * m + i, min(x, y))
    output.unsafe_store[alignment=4](5 * m + i, max(x, y))
    output.unsafe_store[alignment=4](6 * m + i, fma(x, y, x))
    output.unsafe_store[alignment=4](7 * m + i, -abs(x))


def half_functions(output: Halves, a: Halves, n: Int32):
    """Rows of n: exp, tanh, sqrt, rsqrt, log, sin, and x as float32 squared."""
    var i = global_idx.x
    var m = Int(n)
    if i >= m:
        return
    var x = a[i]
    var positive = abs(x) + 0.25
    output[i] = exp(x)
    output[m + i] = tanh(x)
    output[2 * m + i] = sqrt(positive)
    output[3 * m + i] = rsqrt(positive)
    output[4 * m + i] = log(positive)
    output[5 * m + i] = sin(x)
    output[6 * m + i] = (x.cast[DType.float32]() * x.cast[DType.float32]()).cast[DType.float16]()


def mixed_axpy(output: BFloats, a: Halves, b: Floats, n: Int32):
    """Eight elements a thread: float16 in, float32 arithmetic, bfloat16 out."""
    var i = 8 * global_idx.x
    if i < 8 * Int(n):
        var x = a.unsafe_load[width=8, alignment=16](i).cast[DType.float32]()
        var y = b.unsafe_load[width=8, alignment=16](i)
        output.unsafe_store[alignment=16](i, (x * 1.5 + y).cast[DType.bfloat16]())


def conversions(to_ints: Longs, to_floats: Floats, to_halves: Halves, a: Floats, b: Longs, n: Int32):
    """Rows of n: a as int8, uint8, int16, int32, uint32 (all in range), int64; and b as float32 and float16."""
    var i = global_idx.x
    var m = Int(n)
    if i >= m:
        return
    var x = a[i]
    to_ints[i] = x.cast[DType.int8]().cast[DType.int64]()
    to_ints[m + i] = abs(x).cast[DType.uint8]().cast[DType.int64]()
    to_ints[2 * m + i] = (x * 100).cast[DType.int16]().cast[DType.int64]()
    to_ints[3 * m + i] = (x * 1e6).cast[DType.int32]().cast[DType.int64]()
    to_ints[4 * m + i] = (abs(x) * 1e7).cast[DType.uint32]().cast[DType.int64]()
    to_ints[5 * m + i] = (x * 1e15).cast[DType.int64]()
    to_floats[i] = b[i].cast[DType.float32]()
    to_floats[m + i] = b[i].cast[DType.uint64]().cast[DType.float32]()
    to_halves[i] = (b[i] >> 48).cast[DType.float16]()


def int_division(output: Ints, a: Ints, b: Ints, n: Int32):
    """Rows of n: a // b, a % b, ceildiv, a // 7, a % 10, a // 16, a * b, |a|, min, max; Mojo's division floors."""
    var i = global_idx.x
    var m = Int(n)
    if i >= m:
        return
    var x = a[i]
    var y = b[i]
    output[i] = x // y
    output[m + i] = x % y
    output[2 * m + i] = ceildiv(x, y)
    output[3 * m + i] = x // 7
    output[4 * m + i] = x % 10
    output[5 * m + i] = x // 16
    output[6 * m + i] = x * y
    output[7 * m + i] = abs(x)
    output[8 * m + i] = min(x, y)
    output[9 * m + i] = max(x, y)


def uint_division(output: UInts, a: UInts, b: UInts, n: Int32):
    """Rows of n: a // b, a % b, a // 10, a % 1000003, the high half of a * b."""
    var i = global_idx.x
    var m = Int(n)
    if i >= m:
        return
    var x = a[i]
    var y = b[i]
    output[i] = x // y
    output[m + i] = x % y
    output[2 * m + i] = x // 10
    output[3 * m + i] = x % 1000003
    output[4 * m + i] = ((x.cast[DType.uint64]() * y.cast[DType.uint64]()) >> 32).cast[DType.uint32]()


def long_arithmetic(output: Longs, a: Longs, b: Longs, n: Int32):
    """Rows of n: sum, product, //, %, a >> (b & 63), a << (b & 63), ^, a // 1000, min."""
    var i = global_idx.x
    var m = Int(n)
    if i >= m:
        return
    var x = a[i]
    var y = b[i]
    output[i] = x + y
    output[m + i] = x * y
    output[2 * m + i] = x // y
    output[3 * m + i] = x % y
    output[4 * m + i] = x >> (y & 63)
    output[5 * m + i] = x << (y & 63)
    output[6 * m + i] = x ^ y
    output[7 * m + i] = x // 1000
    output[8 * m + i] = min(x, y)


def ulong_arithmetic(output: ULongs, a: ULongs, b: ULongs, n: Int32):
    """Rows of n: a // b, a % b, the high half of the product, a rotated by 13."""
    var i = global_idx.x
    var m = Int(n)
    if i >= m:
        return
    var x = a[i]
    var y = b[i]
    output[i] = x // y
    output[m + i] = x % y
    output[2 * m + i] = ((x.cast[DType.uint128]() * y.cast[DType.uint128]()) >> 64).cast[DType.uint64]()
    output[3 * m + i] = rotate_bits_left[13](x)


def bits(output: UInts, a: UInts, n: Int32):
    """Rows of n: set bits, leading and trailing zeros, reversed, bytes swapped, rotated by 7, a field, parity, a blend."""
    var i = global_idx.x
    var m = Int(n)
    if i >= m:
        return
    var x = a[i]
    output[i] = pop_count(x)
    output[m + i] = count_leading_zeros(x)
    output[2 * m + i] = count_trailing_zeros(x)
    output[3 * m + i] = bit_reverse(x)
    output[4 * m + i] = byte_swap(x)
    output[5 * m + i] = rotate_bits_left[7](x)
    output[6 * m + i] = (x >> 11) & 0x1FF
    output[7 * m + i] = pop_count(x) & 1
    output[8 * m + i] = (x & 0xF0F0F0F0) | (~x & 0x0F0F0F0F)


def small_integers(output: Pointer[Int8, MutAnyOrigin], a: Pointer[Int8, MutAnyOrigin], n: Int32):
    """Four int8 a thread. Rows of 4n: sum with the reversed vector, product, a // 3, a >> 1, max with 0. It wraps."""
    var i = 4 * global_idx.x
    var m = 4 * Int(n)
    if i >= m:
        return
    var x = a.unsafe_load[width=4, alignment=4](i)
    output.unsafe_store[alignment=4](i, x + x.reversed())
    output.unsafe_store[alignment=4](m + i, x * x.reversed())
    output.unsafe_store[alignment=4](2 * m + i, x // 3)
    output.unsafe_store[alignment=4](3 * m + i, x >> 1)
    output.unsafe_store[alignment=4](4 * m + i, max(x, SIMD[DType.int8, 4](0)))


def shorts(output: Pointer[UInt16, MutAnyOrigin], a: Pointer[UInt16, MutAnyOrigin], n: Int32):
    """Rows of n: a * a + 1, a // 10, a >> 3, ~a. It wraps."""
    var i = global_idx.x
    var m = Int(n)
    if i >= m:
        return
    output[i] = a[i] * a[i] + 1
    output[m + i] = a[i] // 10
    output[2 * m + i] = a[i] >> 3
    output[3 * m + i] = ~a[i]


def fast_inverse_root(output: Floats, a: Floats, n: Int32):
    """Through the bits of a float, with two Newton steps."""
    var i = global_idx.x
    if i < Int(n):
        var x = a[i]
        var y = bitcast[DType.float32](UInt32(0x5F3759DF) - (bitcast[DType.uint32](x) >> 1))
        y = y * (1.5 - 0.5 * x * y * y)
        output[i] = y * (1.5 - 0.5 * x * y * y)


def random_numbers(output: UInts, uniform: Floats, seed: UInt64, n: Int32):
    """Four numbers a thread from Philox, its subsequence being the thread's number."""
    var i = global_idx.x
    if i < Int(n):
        var generator = Random(seed=seed, subsequence=UInt64(i), offset=0)
        output.unsafe_store[alignment=16](4 * i, generator.step())
        uniform.unsafe_store[alignment=16](4 * i, generator.step_uniform())


def mandelbrot(output: Ints, width: Int32, height: Int32, limit: Int32):
    """Iterations until a point escapes: a loop that threads leave at different times."""
    var i = global_idx.x
    if i >= Int(width) * Int(height):
        return
    var cx = Float64(i % Int(width)) * 3 / Float64(width) - 2
    var cy = Float64(i // Int(width)) * 2 / Float64(height) - 1
    var x = Float64(0)
    var y = Float64(0)
    var count = Int32(0)
    while count < limit:
        var xx = x * x
        var yy = y * y
        if xx + yy > 4:
            break
        y = fma(2 * x, y, cy)
        x = xx - yy + cx
        count += 1
    output[i] = count


def collatz(output: Ints, n: Int32):
    var i = global_idx.x
    if i >= Int(n):
        return
    var x = UInt64(i) + 1
    var steps = Int32(0)
    while x != 1:
        x = x // 2 if x % 2 == 0 else 3 * x + 1
        steps += 1
    output[i] = steps


def main() raises:
    var ctx = DeviceContext()
    var f = ctx.enqueue_create_buffer[DType.float32](1).unsafe_ptr().as_unsafe_any_origin()
    var d = ctx.enqueue_create_buffer[DType.float64](1).unsafe_ptr().as_unsafe_any_origin()
    var h = ctx.enqueue_create_buffer[DType.float16](1).unsafe_ptr().as_unsafe_any_origin()
    var b = ctx.enqueue_create_buffer[DType.bfloat16](1).unsafe_ptr().as_unsafe_any_origin()
    var i = ctx.enqueue_create_buffer[DType.int32](1).unsafe_ptr().as_unsafe_any_origin()
    var u = ctx.enqueue_create_buffer[DType.uint32](1).unsafe_ptr().as_unsafe_any_origin()
    var l = ctx.enqueue_create_buffer[DType.int64](1).unsafe_ptr().as_unsafe_any_origin()
    var ul = ctx.enqueue_create_buffer[DType.uint64](1).unsafe_ptr().as_unsafe_any_origin()
    var c = ctx.enqueue_create_buffer[DType.int8](1).unsafe_ptr().as_unsafe_any_origin()
    var s = ctx.enqueue_create_buffer[DType.uint16](1).unsafe_ptr().as_unsafe_any_origin()
    var n = Int32(1)
    ctx.enqueue_function[float_functions](f, f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[float_powers](f, f, f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[double_functions](d, d, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[half_arithmetic](h, h, h, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[bfloat_arithmetic](b, b, b, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[half_functions](h, h, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[mixed_axpy](b, h, f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[conversions](l, f, h, f, l, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[int_division](i, i, i, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[uint_division](u, u, u, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[long_arithmetic](l, l, l, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[ulong_arithmetic](ul, ul, ul, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[bits](u, u, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[small_integers](c, c, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[shorts](s, s, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[fast_inverse_root](f, f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[random_numbers](u, f, UInt64(1), n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[mandelbrot](i, n, n, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[collatz](i, n, grid_dim=1, block_dim=1)
