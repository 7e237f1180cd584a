"""Kernels that are right, and that a sloppy check would accuse."""

import max.gpu.primitives.warp as warp
from max.gpu import WARP_SIZE, barrier, block_dim, block_idx, global_idx, grid_dim, lane_id, thread_idx
from max.gpu.host import DeviceContext
from max.gpu.intrinsics import threadfence
from max.gpu.memory import async_copy, async_copy_wait_all
from max.gpu.sync import syncwarp
from std.atomic import Atomic
from std.memory import AddressSpace, Pointer, stack_allocation

comptime Floats = Pointer[Float32, MutAnyOrigin]
comptime Ints = Pointer[Int32, MutAnyOrigin]
comptime Bytes = Pointer[UInt8, MutAnyOrigin]
comptime TPB = 64


def bytes_of_one_word(output: Bytes, a: Bytes):
    """Neighbouring threads write neighbouring bytes, in shared and in global memory."""
    var tile = stack_allocation[TPB, UInt8, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    tile[local] = a[global_idx.x] + 1
    barrier()
    output[global_idx.x] = tile[TPB - 1 - local]


def interleaved_blocks(output: Ints):
    """Block b writes every element whose index is b modulo the number of blocks."""
    output[thread_idx.x * grid_dim.x + block_idx.x] = Int32(global_idx.x)


def same_value_by_all(output: Ints, a: Ints):
    """All who find a negative number store the same one."""
    if a[global_idx.x] < 0:
        output[0] = 1


def barrier_in_a_uniform_branch(output: Floats, a: Floats, rounds: Int32):
    """Whole blocks take a branch with a barrier, or not; the loop's length is the same for all."""
    var tile = stack_allocation[TPB, Float32, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    var mine = a[global_idx.x]
    if block_idx.x % 2 == 0:
        for _ in range(Int(rounds)):
            tile[local] = mine
            barrier()
            mine = tile[(local + 1) % TPB]
            barrier()
    output[global_idx.x] = mine


def barriers_at_two_places(output: Ints, a: Ints):
    """The warps of a block meet at one barrier from two instructions."""
    var tile = stack_allocation[TPB, Int32, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    if local < WARP_SIZE:
        tile[local] = a[global_idx.x] * 2
        barrier()
        output[global_idx.x] = tile[local + WARP_SIZE] - 1
    else:
        tile[local] = a[global_idx.x] * 3
        barrier()
        output[global_idx.x] = tile[local - WARP_SIZE] + 1


def return_after_the_last_barrier(output: Floats, a: Floats, n: Int32):
    var tile = stack_allocation[TPB, Float32, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    var i = global_idx.x
    tile[local] = a[i] if i < Int(n) else 0
    barrier()
    if i >= Int(n):
        return
    output[i] = tile[local] + tile[local ^ 1]


def tile_used_in_part(output: Floats, a: Floats, n: Int32):
    """Slots that nothing wrote are never read."""
    var tile = stack_allocation[4 * TPB, Float32, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    var i = global_idx.x
    if i < Int(n):
        tile[3 * local] = a[i]
    barrier()
    if i < Int(n):
        var other = local ^ 1
        output[i] = tile[3 * other] if i - local + other < Int(n) else 0


def tile_used_twice(output: Floats, a: Floats):
    """One tile for two purposes, with barriers between, read by each thread where others wrote."""
    var tile = stack_allocation[TPB, Float32, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    tile[local] = a[global_idx.x]
    barrier()
    var mirrored = tile[TPB - 1 - local]
    barrier()
    tile[local] = mirrored * 2
    barrier()
    output[global_idx.x] = tile[local ^ 1]


def ping_pong(output: Floats, a: Floats, rounds: Int32):
    """Two tiles take turns, so that one barrier a round is enough."""
    var tiles = stack_allocation[2 * TPB, Float32, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    tiles[local] = a[global_idx.x]
    for i in range(Int(rounds)):
        barrier()
        var here = (i % 2) * TPB
        var there = TPB - here
        tiles[there + local] = tiles[here + local] + tiles[here + (local + 1) % TPB]
    output[global_idx.x] = tiles[(Int(rounds) % 2) * TPB + local]


def each_warp_its_own(output: Ints, a: Ints):
    """Warps use their own parts of a tile, with syncwarp alone."""
    var tile = stack_allocation[TPB, Int32, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    var first = local - local % WARP_SIZE
    tile[local] = a[global_idx.x]
    syncwarp()
    output[global_idx.x] = tile[first + (local + 1) % WARP_SIZE]


def first_warp_finishes(output: Floats, a: Floats):
    """Only the first warp shuffles: a branch that is uniform in each warp."""
    var sums = stack_allocation[TPB // WARP_SIZE, Float32, address_space=AddressSpace.SHARED]()
    var total = warp.sum(a[global_idx.x])
    if lane_id() == 0:
        sums[thread_idx.x // WARP_SIZE] = total
    barrier()
    if thread_idx.x < WARP_SIZE:
        var mine = sums[lane_id()] if lane_id() < TPB // WARP_SIZE else Float32(0)
        var sum = warp.sum(mine)
        if lane_id() == 0:
            output[block_idx.x] = sum


def half_warp_shuffle(output: Ints, a: Ints):
    """Half of the warp shuffles, and the mask names that half."""
    var value = a[global_idx.x]
    if lane_id() < 16:
        value = warp.shuffle_xor(UInt(0xFFFF), value, UInt32(1))
    output[global_idx.x] = value


def own_copy(output: Floats, a: Floats):
    """Each thread reads only what its own asynchronous copy brought: no barrier is needed."""
    var tile = stack_allocation[TPB, Float32, alignment=16, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    async_copy[4](a.address_space_cast[AddressSpace.GLOBAL]().unsafe_offset(global_idx.x), tile.unsafe_offset(local))
    async_copy_wait_all()
    output[global_idx.x] = tile[local] * 2


def atomics_and_barrier(output: Ints, a: Ints):
    """Atomic additions to one word, then a plain read behind a barrier."""
    var total = stack_allocation[1, Int32, address_space=AddressSpace.SHARED]()
    if thread_idx.x == 0:
        total[0] = 0
    barrier()
    _ = Atomic.fetch_add(total, a[global_idx.x])
    barrier()
    output[global_idx.x] = total[0]


def in_place_by_block(a: Floats):
    """Reverses each block's elements in place, with a barrier between the reads and the writes of global memory."""
    var mine = a[block_idx.x * TPB + TPB - 1 - thread_idx.x]
    barrier()
    a[global_idx.x] = mine


def two_elements_each(a: Floats, n: Int32):
    """Each thread swaps its pair: others neither read nor write it."""
    var i = 2 * global_idx.x
    if i + 1 < Int(n):
        var first = a[i]
        a[i] = a[i + 1]
        a[i + 1] = first


def flag_between_blocks(output: Floats, data: Floats, flag: Ints):
    """Block 0 writes and raises a flag; the others wait for the flag, and read."""
    if thread_idx.x == 0:
        if block_idx.x == 0:
            data[0] = 42
            threadfence()
            Atomic.store(flag, 1)
        else:
            while Atomic.load(flag) == 0:
                pass
            threadfence()
            output[block_idx.x] = data[0]


def exact_fit(output: Floats, a: Floats, n: Int32):
    """Vectors up to the very last byte of the buffers."""
    var i = global_idx.x
    if 4 * i + 4 <= Int(n):
        output.unsafe_store[alignment=16](4 * i, a.unsafe_load[width=4, alignment=16](4 * i))
    elif 4 * i < Int(n):
        for j in range(4 * i, Int(n)):
            output[j] = a[j]


def main() raises:
    var ctx = DeviceContext()
    var f = ctx.enqueue_create_buffer[DType.float32](1).unsafe_ptr().as_unsafe_any_origin()
    var i = ctx.enqueue_create_buffer[DType.int32](1).unsafe_ptr().as_unsafe_any_origin()
    var b = ctx.enqueue_create_buffer[DType.uint8](1).unsafe_ptr().as_unsafe_any_origin()
    var n = Int32(1)
    ctx.enqueue_function[bytes_of_one_word](b, b, grid_dim=1, block_dim=1)
    ctx.enqueue_function[interleaved_blocks](i, grid_dim=1, block_dim=1)
    ctx.enqueue_function[same_value_by_all](i, i, grid_dim=1, block_dim=1)
    ctx.enqueue_function[barrier_in_a_uniform_branch](f, f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[barriers_at_two_places](i, i, grid_dim=1, block_dim=1)
    ctx.enqueue_function[return_after_the_last_barrier](f, f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[tile_used_in_part](f, f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[tile_used_twice](f, f, grid_dim=1, block_dim=1)
    ctx.enqueue_function[ping_pong](f, f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[each_warp_its_own](i, i, grid_dim=1, block_dim=1)
    ctx.enqueue_function[first_warp_finishes](f, f, grid_dim=1, block_dim=1)
    ctx.enqueue_function[half_warp_shuffle](i, i, grid_dim=1, block_dim=1)
    ctx.enqueue_function[own_copy](f, f, grid_dim=1, block_dim=1)
    ctx.enqueue_function[atomics_and_barrier](i, i, grid_dim=1, block_dim=1)
    ctx.enqueue_function[in_place_by_block](f, grid_dim=1, block_dim=1)
    ctx.enqueue_function[two_elements_each](f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[flag_between_blocks](f, f, i, grid_dim=1, block_dim=1)
    ctx.enqueue_function[exact_fit](f, f, n, grid_dim=1, block_dim=1)
