"""Kernels with one mistake each. A comment `# (what)` marks the lines that a check must name: see test_mojo_mistakes.py."""

import max.gpu.primitives.warp as warp
from max.gpu import WARP_SIZE, barrier, block_dim, block_idx, global_idx, grid_dim, lane_id, thread_idx
from max.gpu.host import DeviceContext
from max.gpu.memory import async_copy, async_copy_wait_all
from max.gpu.sync import named_barrier, named_barrier_arrive
from std.atomic import Atomic, Ordering
from std.memory import AddressSpace, Pointer, stack_allocation

comptime Floats = Pointer[Float32, MutAnyOrigin]
comptime Ints = Pointer[Int32, MutAnyOrigin]
comptime TPB = 64


def missing_guard(output: Floats, a: Floats, n: Int32):
    """More threads than elements."""
    var i = global_idx.x
    output[i] = a[i] + 10  # (read) (write)


def guard_off_by_one(output: Ints, n: Int32):
    var i = global_idx.x
    if i <= Int(n):
        output[i] = Int32(i)  # (write)


def index_before_the_start(output: Floats, a: Floats, n: Int32):
    var i = global_idx.x
    if i < Int(n):
        output[i] = a[i] - a[i - 1]  # (read)


def swapped_dimensions(output: Ints, rows: Int32, columns: Int32):
    """The row index is multiplied by the number of rows."""
    var row = Int(global_idx.y)
    var column = Int(global_idx.x)
    if row < Int(rows) and column < Int(columns):
        output[column * Int(columns) + row] = 1  # (write)


def misaligned_vector(output: Floats, a: Floats, n: Int32):
    """A vector of four at every index, rather than at every fourth."""
    var i = global_idx.x
    if i < Int(n) - 3:
        var four = a.unsafe_load[width=4, alignment=16](i)
        output[i] = four[0] + four[3]  # (read)


def tile_too_small(output: Floats, a: Floats):
    """The halo lies behind the last element of shared memory."""
    var tile = stack_allocation[TPB, Float32, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    tile[local] = a[global_idx.x]
    if local < 3:
        tile[TPB + local] = a[global_idx.x + TPB]  # (write)
    barrier()
    output[global_idx.x] = tile[local] + tile[local ^ 1]


def overrun_into_the_neighbour(output: Floats, a: Floats):
    """The halo of one tile lands in the other: inside shared memory, and yet wrong."""
    var left = stack_allocation[TPB, Float32, address_space=AddressSpace.SHARED]()
    var right = stack_allocation[TPB, Float32, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    left[local] = a[global_idx.x]
    right[local] = a[global_idx.x] * 2
    barrier()
    if local < 3:
        left[TPB + local] = 0  # (write)
    barrier()
    output[global_idx.x] = left[local ^ 1] + right[local ^ 1]


def missing_barrier(output: Floats, a: Floats):
    var tile = stack_allocation[TPB, Float32, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    tile[local] = a[global_idx.x]  # (write)
    output[global_idx.x] = tile[TPB - 1 - local]  # (read)


def missing_barrier_in_a_warp(output: Floats, a: Floats):
    """The threads that race are of one warp, which some hardware forgives."""
    var tile = stack_allocation[TPB, Float32, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    tile[local] = a[global_idx.x]  # (write)
    output[global_idx.x] = tile[local ^ 1]  # (read)


def missing_barrier_before_the_write(output: Floats, a: Floats):
    """A scan that overwrites elements which others have not read yet."""
    var tile = stack_allocation[TPB, Float32, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    tile[local] = a[global_idx.x]
    barrier()
    var offset = 1
    while offset < TPB:
        var before = tile[local - offset] if local >= offset else Float32(0)  # (read)
        tile[local] += before  # (write)
        barrier()
        offset *= 2
    output[global_idx.x] = tile[local]


def missing_barrier_in_the_loop(output: Floats, a: Floats, n: Int32):
    """The next tile is filled while slow threads still read this one."""
    var tile = stack_allocation[TPB, Float32, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    var total = Float32(0)
    for i in range(Int(n)):
        tile[local] = a[i * TPB + local]  # (write)
        barrier()
        total += tile[TPB - 1 - local]  # (read)
    output[local] = total


def plain_histogram(output: Ints, a: Ints):
    """Counts in shared memory without atomics."""
    var counts = stack_allocation[4, Int32, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    if local < 4:
        counts[local] = 0
    barrier()
    counts[Int(a[global_idx.x] & 3)] += 1  # (read) (write)
    barrier()
    if local < 4:
        _ = Atomic.fetch_add(output.unsafe_offset(local), counts[local])


def blocks_share_a_sum(output: Floats, a: Floats):
    """One thread of each block adds to the same element."""
    var total = warp.sum(a[global_idx.x])
    if thread_idx.x == 0:
        output[0] += total  # (read) (write)


def shift_in_place(a: Floats, n: Int32):
    """Each thread reads the element that the next one overwrites, in another block at the edge."""
    var i = global_idx.x
    if i + 1 < Int(n):
        a[i] = a[i + 1]  # (read) (write)


def last_block_without_fence(output: Floats, partial: Floats, counter: Ints, a: Floats):
    """The counter says who is last, but nothing makes the partial sums visible."""
    var total = warp.sum(a[global_idx.x])
    if thread_idx.x == 0:
        partial[block_idx.x] = total  # (write)
        var before = Int(Atomic.fetch_add[ordering=Ordering.RELAXED](counter, 1))
        if before == grid_dim.x - 1:
            var sum = Float32(0)
            for block in range(grid_dim.x):
                sum += partial[block]  # (read)
            output[0] = sum


def copy_without_wait(output: Floats, a: Floats):
    """Reads what its own asynchronous copy may not have brought yet."""
    var tile = stack_allocation[TPB, Float32, alignment=16, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    async_copy[4](a.address_space_cast[AddressSpace.GLOBAL]().unsafe_offset(global_idx.x), tile.unsafe_offset(local))
    output[global_idx.x] = tile[local]  # (read)
    async_copy_wait_all()


def copy_without_barrier(output: Floats, a: Floats):
    """Waits for its own copy, and reads another thread's."""
    var tile = stack_allocation[TPB, Float32, alignment=16, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    async_copy[4](a.address_space_cast[AddressSpace.GLOBAL]().unsafe_offset(global_idx.x), tile.unsafe_offset(local))
    async_copy_wait_all()
    output[global_idx.x] = tile[TPB - 1 - local]  # (read)


def tile_not_filled(output: Floats, a: Floats, n: Int32):
    """Past the end of the input nothing fills the tile, and yet it is read."""
    var tile = stack_allocation[TPB + 2, Float32, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    var i = global_idx.x
    if i < Int(n):
        tile[local] = a[i]
    if local < 2 and i + TPB < Int(n):
        tile[TPB + local] = a[i + TPB]
    barrier()
    if i < Int(n):
        output[i] = tile[local] + tile[local + 2]  # (read)


def array_not_filled(output: Ints, a: Ints, n: Int32):
    """An array of the thread's own, of which only the first n elements are set."""
    var mine = stack_allocation[8, Int32]()
    var i = global_idx.x
    for j in range(Int(n)):
        mine[j] = a[8 * i + j]
    var total = Int32(0)
    for j in range(8):
        total += mine[Int(a[8 * i + j] & 7)]  # (read)
    output[i] = total


def barrier_in_a_branch(output: Floats, a: Floats):
    """Some threads of a warp pass by the barrier."""
    var tile = stack_allocation[TPB, Float32, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    tile[local] = a[global_idx.x]
    if a[global_idx.x] > 0:
        barrier()  # (barrier)
        output[global_idx.x] = tile[local]


def barriers_in_both_branches(output: Floats, a: Floats):
    """Threads of one warp wait at different barriers."""
    var tile = stack_allocation[TPB, Float32, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    if local % 2 == 0:
        tile[local] = a[global_idx.x] * 2
        barrier()  # (barrier)
        output[global_idx.x] = tile[local]
    else:
        tile[local] = a[global_idx.x] * 3
        barrier()
        output[global_idx.x] = tile[local] + 1


def barrier_some_warps_skip(output: Floats, a: Floats):
    """The second warp passes by the barrier, and ends."""
    var tile = stack_allocation[TPB, Float32, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    if local < WARP_SIZE:
        tile[local] = a[global_idx.x]
        barrier()  # (barrier)
        output[global_idx.x] = tile[WARP_SIZE - 1 - local]


def return_before_the_barrier(output: Floats, a: Floats, n: Int32):
    """The guard ends threads for which the others wait."""
    var tile = stack_allocation[TPB, Float32, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    var i = global_idx.x
    if i >= Int(n):
        return
    tile[local] = a[i]
    barrier()  # (barrier)
    output[i] = tile[local]


def barrier_in_a_loop(output: Ints, a: Ints):
    """Threads go round the loop a different number of times."""
    var total = Int32(0)
    for j in range(Int(a[global_idx.x])):
        total += Int32(j)
        barrier()  # (barrier)
    output[global_idx.x] = total


def shuffle_in_a_branch(output: Floats, a: Floats):
    """Half of the warp shuffles, with a mask that names all of it."""
    var value = a[global_idx.x]
    if lane_id() < 16:
        output[global_idx.x] = warp.shuffle_down(value, UInt32(1))


def main() raises:
    var ctx = DeviceContext()
    var f = ctx.enqueue_create_buffer[DType.float32](1).unsafe_ptr().as_unsafe_any_origin()
    var i = ctx.enqueue_create_buffer[DType.int32](1).unsafe_ptr().as_unsafe_any_origin()
    var n = Int32(1)
    ctx.enqueue_function[missing_guard](f, f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[guard_off_by_one](i, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[index_before_the_start](f, f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[swapped_dimensions](i, n, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[misaligned_vector](f, f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[tile_too_small](f, f, grid_dim=1, block_dim=1)
    ctx.enqueue_function[overrun_into_the_neighbour](f, f, grid_dim=1, block_dim=1)
    ctx.enqueue_function[missing_barrier](f, f, grid_dim=1, block_dim=1)
    ctx.enqueue_function[missing_barrier_in_a_warp](f, f, grid_dim=1, block_dim=1)
    ctx.enqueue_function[missing_barrier_before_the_write](f, f, grid_dim=1, block_dim=1)
    ctx.enqueue_function[missing_barrier_in_the_loop](f, f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[plain_histogram](i, i, grid_dim=1, block_dim=1)
    ctx.enqueue_function[blocks_share_a_sum](f, f, grid_dim=1, block_dim=1)
    ctx.enqueue_function[shift_in_place](f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[last_block_without_fence](f, f, i, f, grid_dim=1, block_dim=1)
    ctx.enqueue_function[copy_without_wait](f, f, grid_dim=1, block_dim=1)
    ctx.enqueue_function[copy_without_barrier](f, f, grid_dim=1, block_dim=1)
    ctx.enqueue_function[tile_not_filled](f, f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[array_not_filled](i, i, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[barrier_in_a_branch](f, f, grid_dim=1, block_dim=1)
    ctx.enqueue_function[barriers_in_both_branches](f, f, grid_dim=1, block_dim=1)
    ctx.enqueue_function[barrier_some_warps_skip](f, f, grid_dim=1, block_dim=1)
    ctx.enqueue_function[return_before_the_barrier](f, f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[barrier_in_a_loop](i, i, grid_dim=1, block_dim=1)
    ctx.enqueue_function[shuffle_in_a_branch](f, f, grid_dim=1, block_dim=1)
