"""Kernels in which the threads of a block, of a warp, or of the grid work out one result together."""

import max.gpu.primitives.block as block
import max.gpu.primitives.warp as warp
from max.gpu import WARP_SIZE, block_dim, block_idx, global_idx, grid_dim, lane_id, thread_idx
from max.gpu.host import DeviceContext
from max.gpu.sync import barrier, syncwarp
from std.atomic import Atomic
from std.math import exp, rsqrt
from std.memory import AddressSpace, Pointer, stack_allocation

comptime Floats = Pointer[Float32, MutAnyOrigin]
comptime Ints = Pointer[Int32, MutAnyOrigin]
comptime TPB = 128


def block_reduction(output: Floats, a: Floats, n: Int32):
    """`output[block]` is the sum of its 128 elements: a tree in shared memory."""
    var tile = stack_allocation[TPB, Float32, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    var i = global_idx.x
    tile[local] = a[i] if i < Int(n) else 0
    barrier()
    var stride = TPB // 2
    while stride > 0:
        if local < stride:
            tile[local] += tile[local + stride]
        barrier()
        stride //= 2
    if local == 0:
        output[block_idx.x] = tile[0]


def dot_product(output: Floats, a: Floats, b: Floats, n: Int32):
    """Partial sums in registers, a tree in shared memory, one atomic addition a block."""
    var tile = stack_allocation[TPB, Float32, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    var i = global_idx.x
    var total = Float32(0)
    while i < Int(n):
        total += a[i] * b[i]
        i += grid_dim.x * block_dim.x
    tile[local] = total
    barrier()
    comptime for step in range(7):
        comptime stride = TPB >> (step + 1)
        if local < stride:
            tile[local] += tile[local + stride]
        barrier()
    if local == 0:
        _ = Atomic.fetch_add(output, tile[0])


def axis_sum(output: Floats, a: Floats, columns: Int32):
    """One block a row; the threads stride along it."""
    var total = Float32(0)
    var j = thread_idx.x
    while j < Int(columns):
        total += a[block_idx.x * Int(columns) + j]
        j += block_dim.x
    total = block.sum[block_size=TPB](total)
    if thread_idx.x == 0:
        output[block_idx.x] = total


def block_primitives(output: Floats, a: Floats):
    """Rows of TPB: the block's maximum, minimum, inclusive and exclusive prefix sums, and element 3."""
    var local = thread_idx.x
    var mine = a[global_idx.x]
    var base = block_idx.x * 5 * TPB + local
    output[base] = block.max[block_size=TPB](mine)
    output[base + TPB] = block.min[block_size=TPB](mine)
    output[base + 2 * TPB] = block.prefix_sum[exclusive=False, block_size=TPB](mine)
    output[base + 3 * TPB] = block.prefix_sum[exclusive=True, block_size=TPB](mine)
    output[base + 4 * TPB] = block.broadcast[block_size=TPB](mine, 3)


def warp_primitives(output: Floats, a: Floats):
    """Rows of WARP_SIZE for each warp: sum, maximum, minimum, prefix sums, broadcast, and four shuffles."""
    var mine = a[global_idx.x]
    var base = (global_idx.x // WARP_SIZE) * 10 * WARP_SIZE + Int(lane_id())
    output[base] = warp.sum(mine)
    output[base + 32] = warp.max(mine)
    output[base + 64] = warp.min(mine)
    output[base + 96] = warp.prefix_sum(mine)
    output[base + 128] = warp.prefix_sum[exclusive=True](mine)
    output[base + 160] = warp.broadcast(mine)
    output[base + 192] = warp.shuffle_down(mine, UInt32(3))
    output[base + 224] = warp.shuffle_up(mine, UInt32(2))
    output[base + 256] = warp.shuffle_xor(mine, UInt32(5))
    output[base + 288] = warp.shuffle_idx(mine, UInt32(lane_id()) * 7 % 32)


def warp_integers(output: Ints, a: Ints):
    """The same for integers, which have instructions of their own from sm_80 on."""
    var mine = a[global_idx.x]
    var base = (global_idx.x // WARP_SIZE) * 6 * WARP_SIZE + Int(lane_id())
    output[base] = warp.sum(mine)
    output[base + 32] = warp.max(mine)
    output[base + 64] = warp.min(mine)
    output[base + 96] = warp.prefix_sum(mine)
    output[base + 128] = Int32(warp.vote[DType.uint32](mine > 0))
    output[base + 160] = warp.shuffle_xor(mine, UInt32(1))


def warp_halves(output: Pointer[Float16, MutAnyOrigin], a: Pointer[Float16, MutAnyOrigin]):
    var i = global_idx.x
    var pair = a.unsafe_load[width=2, alignment=4](2 * i)
    output.unsafe_store[alignment=4](2 * i, warp.shuffle_down(pair, UInt32(1)))
    output[2 * (i + grid_dim.x * block_dim.x)] = warp.sum(pair[0])
    output[2 * (i + grid_dim.x * block_dim.x) + 1] = warp.max(pair[1])


def warp_longs(output: Pointer[Int64, MutAnyOrigin], a: Pointer[Int64, MutAnyOrigin]):
    var i = global_idx.x
    output[i] = warp.sum(a[i])
    output[i + grid_dim.x * block_dim.x] = warp.shuffle_idx(a[i], 31 - UInt32(lane_id()))


def lane_group_sums(output: Floats, a: Floats):
    """Sums of groups of eight lanes."""
    output[global_idx.x] = warp.lane_group_sum[num_lanes=8](a[global_idx.x])


def warp_synchronous(output: Ints, a: Ints):
    """Each warp passes its elements round through shared memory, with nothing but syncwarp between."""
    var tile = stack_allocation[TPB, Int32, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    var first = local - local % WARP_SIZE
    tile[local] = a[global_idx.x]
    syncwarp()
    var total = Int32(0)
    for step in range(5):
        var value = tile[first + (local + (1 << step)) % WARP_SIZE]
        syncwarp()
        total = total * 3 + value
        tile[local] = value + 1
        syncwarp()
    output[global_idx.x] = total


def hillis_steele_scan(output: Floats, a: Floats, n: Int32):
    """Inclusive prefix sums within each block, with two barriers a step."""
    var tile = stack_allocation[TPB, Float32, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    var i = global_idx.x
    tile[local] = a[i] if i < Int(n) else 0
    barrier()
    var offset = 1
    while offset < TPB:
        var before = tile[local - offset] if local >= offset else Float32(0)
        barrier()
        tile[local] += before
        barrier()
        offset *= 2
    if i < Int(n):
        output[i] = tile[local]


def blelloch_scan(output: Ints, block_totals: Ints, a: Ints, n: Int32):
    """Exclusive prefix sums of 2 * TPB elements a block: an up-sweep and a down-sweep."""
    var tile = stack_allocation[2 * TPB, Int32, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    var first = block_idx.x * 2 * TPB
    comptime for half in range(2):
        var i = first + local + half * TPB
        tile[local + half * TPB] = a[i] if i < Int(n) else 0
    var offset = 1
    var active = TPB
    while active > 0:
        barrier()
        if local < active:
            tile[offset * (2 * local + 2) - 1] += tile[offset * (2 * local + 1) - 1]
        offset *= 2
        active //= 2
    if local == 0:
        block_totals[block_idx.x] = tile[2 * TPB - 1]
        tile[2 * TPB - 1] = 0
    active = 1
    while active < 2 * TPB:
        offset //= 2
        barrier()
        if local < active:
            var left = offset * (2 * local + 1) - 1
            var right = offset * (2 * local + 2) - 1
            var kept = tile[left]
            tile[left] = tile[right]
            tile[right] += kept
        active *= 2
    barrier()
    comptime for half in range(2):
        var i = first + local + half * TPB
        if i < Int(n):
            output[i] = tile[local + half * TPB]


def histogram(output: Ints, a: Pointer[UInt8, MutAnyOrigin], n: Int32):
    """Counts of 64 bins: atomics in shared memory, then one global atomic for each bin of a block."""
    var counts = stack_allocation[64, Int32, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    if local < 64:
        counts[local] = 0
    barrier()
    var i = global_idx.x
    while i < Int(n):
        _ = Atomic.fetch_add(counts + Int(a[i] & 63), 1)
        i += grid_dim.x * block_dim.x
    barrier()
    if local < 64:
        _ = Atomic.fetch_add(output + local, counts[local])


def argmax(best: Floats, where_: Ints, a: Floats, columns: Int32):
    """One block a row: the largest element, and the first index that has it."""
    var values = stack_allocation[TPB, Float32, address_space=AddressSpace.SHARED]()
    var indices = stack_allocation[TPB, Int32, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    var value = Float32.MIN
    var index = Int32.MAX
    var j = local
    while j < Int(columns):
        var candidate = a[block_idx.x * Int(columns) + j]
        if candidate > value:
            value = candidate
            index = Int32(j)
        j += TPB
    values[local] = value
    indices[local] = index
    barrier()
    var stride = TPB // 2
    while stride > 0:
        if local < stride:
            var other = values[local + stride]
            var other_index = indices[local + stride]
            if other > values[local] or (other == values[local] and other_index < indices[local]):
                values[local] = other
                indices[local] = other_index
        barrier()
        stride //= 2
    if local == 0:
        best[block_idx.x] = values[0]
        where_[block_idx.x] = indices[0]


def online_softmax(output: Floats, a: Floats, columns: Int32):
    """One block a row: the maximum and the sum of exponentials in one pass, merged in shared memory."""
    var maxima = stack_allocation[TPB, Float32, address_space=AddressSpace.SHARED]()
    var sums = stack_allocation[TPB, Float32, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    var row = block_idx.x * Int(columns)
    var largest = Float32.MIN_FINITE
    var total = Float32(0)
    var j = local
    while j < Int(columns):
        var x = a[row + j]
        if x > largest:
            total = total * exp(largest - x) + 1
            largest = x
        else:
            total += exp(x - largest)
        j += TPB
    maxima[local] = largest
    sums[local] = total
    barrier()
    var stride = TPB // 2
    while stride > 0:
        if local < stride:
            var m = max(maxima[local], maxima[local + stride])
            sums[local] = sums[local] * exp(maxima[local] - m) + sums[local + stride] * exp(maxima[local + stride] - m)
            maxima[local] = m
        barrier()
        stride //= 2
    j = local
    while j < Int(columns):
        output[row + j] = exp(a[row + j] - maxima[0]) / sums[0]
        j += TPB


def layer_norm(output: Floats, a: Floats, gamma: Floats, beta: Floats, columns: Int32, epsilon: Float32):
    """One warp a row, by shuffles alone."""
    var row = global_idx.x // WARP_SIZE * Int(columns)
    var total = Float32(0)
    var j = Int(lane_id())
    while j < Int(columns):
        total += a[row + j]
        j += WARP_SIZE
    var mean = warp.sum(total) / Float32(columns)
    var squares = Float32(0)
    j = Int(lane_id())
    while j < Int(columns):
        var d = a[row + j] - mean
        squares += d * d
        j += WARP_SIZE
    var scale = rsqrt(warp.sum(squares) / Float32(columns) + epsilon)
    j = Int(lane_id())
    while j < Int(columns):
        output[row + j] = (a[row + j] - mean) * scale * gamma[j] + beta[j]
        j += WARP_SIZE


def main() raises:
    var ctx = DeviceContext()
    var f = ctx.enqueue_create_buffer[DType.float32](1).unsafe_ptr().as_unsafe_any_origin()
    var i = ctx.enqueue_create_buffer[DType.int32](1).unsafe_ptr().as_unsafe_any_origin()
    var l = ctx.enqueue_create_buffer[DType.int64](1).unsafe_ptr().as_unsafe_any_origin()
    var b = ctx.enqueue_create_buffer[DType.uint8](1).unsafe_ptr().as_unsafe_any_origin()
    var h = ctx.enqueue_create_buffer[DType.float16](1).unsafe_ptr().as_unsafe_any_origin()
    var n = Int32(1)
    ctx.enqueue_function[block_reduction](f, f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[dot_product](f, f, f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[axis_sum](f, f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[block_primitives](f, f, grid_dim=1, block_dim=1)
    ctx.enqueue_function[warp_primitives](f, f, grid_dim=1, block_dim=1)
    ctx.enqueue_function[warp_integers](i, i, grid_dim=1, block_dim=1)
    ctx.enqueue_function[warp_halves](h, h, grid_dim=1, block_dim=1)
    ctx.enqueue_function[warp_longs](l, l, grid_dim=1, block_dim=1)
    ctx.enqueue_function[lane_group_sums](f, f, grid_dim=1, block_dim=1)
    ctx.enqueue_function[warp_synchronous](i, i, grid_dim=1, block_dim=1)
    ctx.enqueue_function[hillis_steele_scan](f, f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[blelloch_scan](i, i, i, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[histogram](i, b, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[argmax](f, i, f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[online_softmax](f, f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[layer_norm](f, f, f, f, n, Float32(1), grid_dim=1, block_dim=1)
