"""Matrix products and attention, from the naive kernel to tensor cores, and asynchronous copies."""

from max.gpu import barrier, block_dim, block_idx, global_idx, lane_id, thread_idx
from max.gpu.compute.mma import ld_matrix, mma
from max.gpu.host import DeviceContext
from max.gpu.memory import async_copy, async_copy_commit_group, async_copy_wait_all, async_copy_wait_group
from std.math import exp
from std.memory import AddressSpace, Pointer, stack_allocation

comptime Floats = Pointer[Float32, MutAnyOrigin]
comptime Halves = Pointer[Float16, MutAnyOrigin]
comptime BFloats = Pointer[BFloat16, MutAnyOrigin]


def matmul_naive(c: Floats, a: Floats, b: Floats, m: Int32, n: Int32, k: Int32):
    var row = global_idx.y
    var column = global_idx.x
    if row < Int(m) and column < Int(n):
        var total = Float32(0)
        for p in range(Int(k)):
            total += a[row * Int(k) + p] * b[p * Int(n) + column]
        c[row * Int(n) + column] = total


def matmul_tiled(c: Floats, a: Floats, b: Floats, m: Int32, n: Int32, k: Int32):
    """Tiles of 16 x 16 in shared memory."""
    comptime T = 16
    var a_tile = stack_allocation[T * T, Float32, address_space=AddressSpace.SHARED]()
    var b_tile = stack_allocation[T * T, Float32, address_space=AddressSpace.SHARED]()
    var tx = Int(thread_idx.x)
    var ty = Int(thread_idx.y)
    var row = Int(block_idx.y) * T + ty
    var column = Int(block_idx.x) * T + tx
    var total = Float32(0)
    var p = 0
    while p < Int(k):
        a_tile[ty * T + tx] = a[row * Int(k) + p + tx] if row < Int(m) and p + tx < Int(k) else 0
        b_tile[ty * T + tx] = b[(p + ty) * Int(n) + column] if p + ty < Int(k) and column < Int(n) else 0
        barrier()
        comptime for q in range(T):
            total += a_tile[ty * T + q] * b_tile[q * T + tx]
        barrier()
        p += T
    if row < Int(m) and column < Int(n):
        c[row * Int(n) + column] = total


def matmul_register_tiled(c: Floats, a: Floats, b: Floats, m: Int32, n: Int32, k: Int32):
    """A block of 64 threads works out 32 x 32, each thread 4 x 4 of it in registers."""
    comptime BM = 32
    comptime BK = 8
    var a_tile = stack_allocation[BK * BM, Float32, address_space=AddressSpace.SHARED]()
    var b_tile = stack_allocation[BK * BM, Float32, address_space=AddressSpace.SHARED]()
    var t = Int(thread_idx.x)
    var row = Int(block_idx.y) * BM
    var column = Int(block_idx.x) * BM
    var sums = stack_allocation[16, Float32]()
    comptime for i in range(16):
        sums[i] = 0
    var p = 0
    while p < Int(k):
        comptime for i in range(4):
            var slot = t + 64 * i
            var ar = row + slot // BK
            var ak = p + slot % BK
            a_tile[(slot % BK) * BM + slot // BK] = a[ar * Int(k) + ak] if ar < Int(m) and ak < Int(k) else 0
            var bk = p + slot // BM
            var bc = column + slot % BM
            b_tile[slot] = b[bk * Int(n) + bc] if bk < Int(k) and bc < Int(n) else 0
        barrier()
        for q in range(BK):
            var x = a_tile.unsafe_load[width=4, alignment=16](q * BM + 4 * (t // 8))
            var y = b_tile.unsafe_load[width=4, alignment=16](q * BM + 4 * (t % 8))
            comptime for i in range(4):
                comptime for j in range(4):
                    sums[4 * i + j] += x[i] * y[j]
        barrier()
        p += BK
    comptime for i in range(4):
        comptime for j in range(4):
            var r = row + 4 * (t // 8) + i
            var s = column + 4 * (t % 8) + j
            if r < Int(m) and s < Int(n):
                c[r * Int(n) + s] = sums[4 * i + j]


def matmul_double_buffered(c: Floats, a: Floats, b: Floats, m: Int32, n: Int32, k: Int32):
    """Two tiles of each: one is filled while the other is read, so one barrier a step is enough."""
    comptime T = 16
    var a_tiles = stack_allocation[2 * T * T, Float32, address_space=AddressSpace.SHARED]()
    var b_tiles = stack_allocation[2 * T * T, Float32, address_space=AddressSpace.SHARED]()
    var tx = Int(thread_idx.x)
    var ty = Int(thread_idx.y)
    var row = Int(block_idx.y) * T + ty
    var column = Int(block_idx.x) * T + tx
    var total = Float32(0)
    var slot = ty * T + tx
    a_tiles[slot] = a[row * Int(k) + tx] if row < Int(m) and tx < Int(k) else 0
    b_tiles[slot] = b[ty * Int(n) + column] if ty < Int(k) and column < Int(n) else 0
    var current = 0
    var p = 0
    while p < Int(k):
        barrier()
        var next = p + T
        if next < Int(k):
            var other = (1 - current) * T * T
            a_tiles[other + slot] = a[row * Int(k) + next + tx] if row < Int(m) and next + tx < Int(k) else 0
            b_tiles[other + slot] = b[(next + ty) * Int(n) + column] if next + ty < Int(k) and column < Int(n) else 0
        comptime for q in range(T):
            total += a_tiles[current * T * T + ty * T + q] * b_tiles[current * T * T + q * T + tx]
        current = 1 - current
        p = next
    if row < Int(m) and column < Int(n):
        c[row * Int(n) + column] = total


def attention(output: Floats, q: Floats, k: Floats, v: Floats, length: Int32):
    """One block of 32 a query, heads of 32: scores by dot products, running maximum and sum, one pass over the keys."""
    comptime D = 32
    var query = stack_allocation[D, Float32, address_space=AddressSpace.SHARED]()
    var scores = stack_allocation[D, Float32, address_space=AddressSpace.SHARED]()
    var t = Int(thread_idx.x)
    var row = Int(block_idx.x)
    query[t] = q[row * D + t] * 0.17677669
    barrier()
    var largest = Float32.MIN_FINITE
    var total = Float32(0)
    var result = Float32(0)
    var first = 0
    while first < Int(length):
        var score = Float32.MIN_FINITE
        if first + t < Int(length):
            score = 0
            for d in range(D):
                score += query[d] * k[(first + t) * D + d]
        scores[t] = score
        barrier()
        for j in range(min(D, Int(length) - first)):
            var s = scores[j]
            var m = max(largest, s)
            var shrink = exp(largest - m)
            var weight = exp(s - m)
            total = total * shrink + weight
            result = result * shrink + weight * v[(first + j) * D + t]
            largest = m
        barrier()
        first += D
    output[row * D + t] = result / total


def copy_by_16(output: Floats, a: Floats, n: Int32):
    """Each thread copies 16 bytes to shared memory asynchronously, and reads its neighbour's after the wait."""
    var tile = stack_allocation[256, Float32, alignment=16, address_space=AddressSpace.SHARED]()
    var t = Int(thread_idx.x)
    var first = Int(block_idx.x) * 256
    if first + 4 * t < Int(n):
        async_copy[16](a.unsafe_address_space_cast[AddressSpace.GLOBAL]() + first + 4 * t, tile + 4 * t)
    async_copy_wait_all()
    barrier()
    var other = (t + 1) % 64
    if first + 4 * other < Int(n):
        output.unsafe_store[alignment=16](first + 4 * other, tile.unsafe_load[width=4, alignment=16](4 * other) * 2)


def stream_with_groups(output: Floats, a: Floats, tiles: Int32):
    """A pipeline of two stages: the next tile of 64 is on its way while this one is summed up per thread."""
    var stages = stack_allocation[128, Float32, alignment=16, address_space=AddressSpace.SHARED]()
    var t = Int(thread_idx.x)
    var source = a.unsafe_address_space_cast[AddressSpace.GLOBAL]()
    async_copy[4](source + t, stages + t)
    async_copy_commit_group()
    var total = Float32(0)
    for i in range(Int(tiles)):
        if i + 1 < Int(tiles):
            async_copy[4](source + (i + 1) * 64 + t, stages + ((i + 1) % 2) * 64 + t)
        async_copy_commit_group()
        async_copy_wait_group(1)
        barrier()
        total = total * 0.5 + stages[(i % 2) * 64 + (t + 1) % 64]
        barrier()
    output[t] = total


def mma_f16(c: Floats, a: Halves, b: Halves):
    """One warp: c[16, 8] = a[16, 16] @ b[16, 8], operands gathered element by element as the instruction wants them."""
    var lane = Int(lane_id())
    var group = lane // 4
    var pair = 2 * (lane % 4)
    var af = SIMD[DType.float16, 8](0)
    comptime for i in range(8):
        comptime row = 8 * ((i // 2) % 2)
        comptime column = 8 * (i // 4) + i % 2
        af[i] = a[(group + row) * 16 + pair + column]
    var bf = SIMD[DType.float16, 4](0)
    comptime for i in range(4):
        bf[i] = b[(pair + 8 * (i // 2) + i % 2) * 8 + group]
    var cf = SIMD[DType.float32, 4](0)
    mma(cf, af, bf, cf)
    comptime for i in range(4):
        c[(group + 8 * (i // 2)) * 8 + pair + i % 2] = cf[i]


def mma_bf16(c: Floats, a: BFloats, b: BFloats):
    """One warp: c[16, 8] = a[16, 8] @ b[8, 8], in bfloat16."""
    var lane = Int(lane_id())
    var group = lane // 4
    var pair = 2 * (lane % 4)
    var af = SIMD[DType.bfloat16, 4](0)
    comptime for i in range(4):
        af[i] = a[(group + 8 * (i // 2)) * 8 + pair + i % 2]
    var bf = SIMD[DType.bfloat16, 2](b[pair * 8 + group], b[(pair + 1) * 8 + group])
    var cf = SIMD[DType.float32, 4](0)
    mma(cf, af, bf, cf)
    comptime for i in range(4):
        c[(group + 8 * (i // 2)) * 8 + pair + i % 2] = cf[i]


def mma_tf32(c: Floats, a: Floats, b: Floats):
    """One warp: c[16, 8] = a[16, 8] @ b[8, 8], float32 rounded to tf32 by the instruction."""
    var lane = Int(lane_id())
    var group = lane // 4
    var j = lane % 4
    var af = SIMD[DType.float32, 4](
        a[group * 8 + j], a[(group + 8) * 8 + j], a[group * 8 + j + 4], a[(group + 8) * 8 + j + 4]
    )
    var bf = SIMD[DType.float32, 2](b[j * 8 + group], b[(j + 4) * 8 + group])
    var cf = SIMD[DType.float32, 4](0)
    mma(cf, af, bf, cf)
    comptime for i in range(4):
        c[(group + 8 * (i // 2)) * 8 + 2 * j + i % 2] = cf[i]


def mma_ldmatrix(c: Floats, a: Halves, b: Halves):
    """As `mma_f16`, with the operands from shared memory by ldmatrix; b is transposed on the way."""
    var a_tile = stack_allocation[256, Float16, alignment=16, address_space=AddressSpace.SHARED]()
    var b_tile = stack_allocation[128, Float16, alignment=16, address_space=AddressSpace.SHARED]()
    var lane = Int(lane_id())
    a_tile.unsafe_store[alignment=16](8 * lane, a.unsafe_load[width=8, alignment=16](8 * lane))
    b_tile.unsafe_store[alignment=8](4 * lane, b.unsafe_load[width=4, alignment=8](4 * lane))
    barrier()
    var af = ld_matrix[8](a_tile + (lane % 16) * 16 + 8 * (lane // 16))
    var bf = ld_matrix[4, transpose=True](b_tile + (lane % 16) * 8)
    var cf = SIMD[DType.float32, 4](0)
    mma(cf, af, bf, cf)
    var group = lane // 4
    var pair = 2 * (lane % 4)
    comptime for i in range(4):
        c[(group + 8 * (i // 2)) * 8 + pair + i % 2] = cf[i]


def main() raises:
    var ctx = DeviceContext()
    var f = ctx.enqueue_create_buffer[DType.float32](1).unsafe_ptr().as_unsafe_any_origin()
    var h = ctx.enqueue_create_buffer[DType.float16](1).unsafe_ptr().as_unsafe_any_origin()
    var b = ctx.enqueue_create_buffer[DType.bfloat16](1).unsafe_ptr().as_unsafe_any_origin()
    var n = Int32(1)
    ctx.enqueue_function[matmul_naive](f, f, f, n, n, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[matmul_tiled](f, f, f, n, n, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[matmul_register_tiled](f, f, f, n, n, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[matmul_double_buffered](f, f, f, n, n, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[attention](f, f, f, f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[copy_by_16](f, f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[stream_with_groups](f, f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[mma_f16](f, h, h, grid_dim=1, block_dim=1)
    ctx.enqueue_function[mma_bf16](f, b, b, grid_dim=1, block_dim=1)
    ctx.enqueue_function[mma_tf32](f, f, f, grid_dim=1, block_dim=1)
    ctx.enqueue_function[mma_ldmatrix](f, h, h, grid_dim=1, block_dim=1)
