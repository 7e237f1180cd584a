"""Kernels that use what single generations of GPUs brought: mbarriers, matrix shapes, recursion, cache control, streams."""

import max.gpu.primitives.warp as warp
from max.gpu import barrier, block_dim, block_idx, global_idx, grid_dim, lane_id, thread_idx
from max.gpu.compute.mma import mma
from max.gpu.host import DeviceContext
from max.gpu.intrinsics import threadfence
from max.gpu.memory import async_copy
from max.gpu.sync import async_copy_arrive, mbarrier_arrive, mbarrier_init, mbarrier_test_wait
from std.atomic import Atomic, Ordering
from std.memory import AddressSpace, Pointer, stack_allocation
from std.sys import prefetch

comptime Floats = Pointer[Float32, MutAnyOrigin]
comptime Halves = Pointer[Float16, MutAnyOrigin]
comptime BFloats = Pointer[BFloat16, MutAnyOrigin]
comptime Ints = Pointer[Int32, MutAnyOrigin]
comptime TPB = 64


@no_inline
def fibonacci(n: Int32) -> Int32:
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


@no_inline
def statistics(values: SIMD[DType.float32, 4]) -> Tuple[Float32, Float32, Int32]:
    """Several results by one call: the sum, the largest, and how many are negative."""
    return (values.reduce_add(), values.reduce_max(), Int32(values.lt(0).cast[DType.int32]().reduce_add()))


def recursion(output: Ints, n: Int32):
    var i = global_idx.x
    if i < Int(n):
        output[i] = fibonacci(Int32(i) % 9)


def several_results(output: Floats, a: Floats, n: Int32):
    """Rows of n: what `statistics` says of each four."""
    var i = global_idx.x
    var m = Int(n)
    if i < m:
        var found = statistics(a.unsafe_load[width=4, alignment=16](4 * i))
        output[i] = found[0]
        output[m + i] = found[1]
        output[2 * m + i] = Float32(found[2])


def mbarrier_phases(output: Ints, a: Ints, rounds: Int32):
    """A block passes its numbers round, with an mbarrier in shared memory in place of `barrier`."""
    var tile = stack_allocation[2 * TPB, Int32, address_space=AddressSpace.SHARED]()
    var bar = stack_allocation[1, Int64, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    if local == 0:
        mbarrier_init(bar, TPB)
    barrier()
    var mine = a[global_idx.x]
    for i in range(Int(rounds)):
        var here = (i % 2) * TPB
        tile[here + local] = mine
        var token = mbarrier_arrive(bar)
        while not mbarrier_test_wait(bar, token):
            pass
        mine = tile[here + (local + 1) % TPB] + 1
    output[global_idx.x] = mine


def mbarrier_copies(output: Floats, a: Floats):
    """An mbarrier that asynchronous copies arrive at."""
    var tile = stack_allocation[TPB, Float32, alignment=16, address_space=AddressSpace.SHARED]()
    var bar = stack_allocation[1, Int64, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    if local == 0:
        mbarrier_init(bar, TPB)
    barrier()
    async_copy[4](a.address_space_cast[AddressSpace.GLOBAL]().unsafe_offset(global_idx.x), tile.unsafe_offset(local))
    async_copy_arrive(bar)
    var token = mbarrier_arrive(bar)
    while not mbarrier_test_wait(bar, token):
        pass
    output[global_idx.x] = tile[TPB - 1 - local]


def cache_control(output: Floats, a: Floats, n: Int32):
    """Prefetching, and loads and stores that are read-only, volatile or not to be cached."""
    var i = global_idx.x
    if i + 32 < Int(n):
        prefetch(a.unsafe_offset(i + 32))
    if i < Int(n):
        var total = a.unsafe_load[invariant=True](i) + a.unsafe_load[volatile=True](i)
        total += a.unsafe_load[non_temporal=True](i)
        output.unsafe_store[volatile=True](i, total)


def acquire_release(output: Ints, flags: Ints):
    """Block b waits for the flag of block b - 1, and adds to its number."""
    if thread_idx.x == 0:
        var b = block_idx.x
        var before = Int32(0)
        if b > 0:
            while Atomic.load[ordering=Ordering.ACQUIRE](flags.unsafe_offset(b - 1)) == 0:
                pass
            before = output[b - 1]
        output[b] = before + Int32(b)
        Atomic.store[ordering=Ordering.RELEASE](flags.unsafe_offset(b), Int32(1))


def mma_f16_accumulate_f16(c: Halves, a: Halves, b: Halves):
    """One warp: c[16, 8] = a[16, 8] @ b[8, 8], accumulated in float16."""
    var lane = Int(lane_id())
    var group = lane // 4
    var pair = 2 * (lane % 4)
    var af = SIMD[DType.float16, 4](0)
    comptime for i in range(4):
        af[i] = a[(group + 8 * (i // 2)) * 8 + pair + i % 2]
    var bf = SIMD[DType.float16, 2](b[pair * 8 + group], b[(pair + 1) * 8 + group])
    var cf = SIMD[DType.float16, 4](0)
    mma(cf, af, bf, cf)
    comptime for i in range(4):
        c[(group + 8 * (i // 2)) * 8 + pair + i % 2] = cf[i]


def mma_bf16_k16(c: Floats, a: BFloats, b: BFloats):
    """One warp: c[16, 8] += a[16, 16] @ b[16, 8], in bfloat16."""
    var lane = Int(lane_id())
    var group = lane // 4
    var pair = 2 * (lane % 4)
    var af = SIMD[DType.bfloat16, 8](0)
    comptime for i in range(8):
        af[i] = a[(group + 8 * ((i // 2) % 2)) * 16 + pair + 8 * (i // 4) + i % 2]
    var bf = SIMD[DType.bfloat16, 4](0)
    comptime for i in range(4):
        bf[i] = b[(pair + 8 * (i // 2) + i % 2) * 8 + group]
    var cf = SIMD[DType.float32, 4](0)
    comptime for i in range(4):
        cf[i] = c[(group + 8 * (i // 2)) * 8 + pair + i % 2]
    mma(cf, af, bf, cf)
    comptime for i in range(4):
        c[(group + 8 * (i // 2)) * 8 + pair + i % 2] = cf[i]


def mma_tf32_k4(c: Floats, a: Floats, b: Floats):
    """One warp: c[16, 8] = a[16, 4] @ b[4, 8], in tf32."""
    var lane = Int(lane_id())
    var group = lane // 4
    var j = lane % 4
    var af = SIMD[DType.float32, 2](a[group * 4 + j], a[(group + 8) * 4 + j])
    var bf = SIMD[DType.float32, 1](b[j * 8 + group])
    var cf = SIMD[DType.float32, 4](0)
    mma(cf, af, bf, cf)
    comptime for i in range(4):
        c[(group + 8 * (i // 2)) * 8 + 2 * j + i % 2] = cf[i]


def matmul_mma(c: Floats, a: Halves, b: Halves, n: Int32, k: Int32):
    """c[m, n] = a[m, k] @ b[k, n]: a warp a tile of 16 x 8; m, n and k are multiples of the tile."""
    var lane = Int(lane_id())
    var group = lane // 4
    var pair = 2 * (lane % 4)
    var row = block_idx.y * 16 + group
    var column = block_idx.x * 8
    var cf = SIMD[DType.float32, 4](0)
    for p in range(0, Int(k), 16):
        var af = SIMD[DType.float16, 8](0)
        comptime for i in range(4):
            comptime low = 8 * (i % 2)
            comptime right = 8 * (i // 2)
            var two = a.unsafe_load[width=2, alignment=4]((row + low) * Int(k) + p + pair + right)
            af[2 * i] = two[0]
            af[2 * i + 1] = two[1]
        var bf = SIMD[DType.float16, 4](0)
        comptime for i in range(4):
            bf[i] = b[(p + pair + 8 * (i // 2) + i % 2) * Int(n) + column + group]
        mma(cf, af, bf, cf)
    comptime for i in range(4):
        c[(row + 8 * (i // 2)) * Int(n) + column + pair + i % 2] = cf[i]


def main() raises:
    var ctx = DeviceContext()
    var f = ctx.enqueue_create_buffer[DType.float32](1).unsafe_ptr().as_unsafe_any_origin()
    var h = ctx.enqueue_create_buffer[DType.float16](1).unsafe_ptr().as_unsafe_any_origin()
    var b = ctx.enqueue_create_buffer[DType.bfloat16](1).unsafe_ptr().as_unsafe_any_origin()
    var i = ctx.enqueue_create_buffer[DType.int32](1).unsafe_ptr().as_unsafe_any_origin()
    var n = Int32(1)
    ctx.enqueue_function[recursion](i, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[several_results](f, f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[mbarrier_phases](i, i, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[mbarrier_copies](f, f, grid_dim=1, block_dim=1)
    ctx.enqueue_function[cache_control](f, f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[acquire_release](i, i, grid_dim=1, block_dim=1)
    ctx.enqueue_function[mma_f16_accumulate_f16](h, h, h, grid_dim=1, block_dim=1)
    ctx.enqueue_function[mma_bf16_k16](f, b, b, grid_dim=1, block_dim=1)
    ctx.enqueue_function[mma_tf32_k4](f, f, f, grid_dim=1, block_dim=1)
    ctx.enqueue_function[matmul_mma](f, h, h, n, n, grid_dim=1, block_dim=1)
