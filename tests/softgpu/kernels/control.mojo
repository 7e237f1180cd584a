"""Kernels about control flow and co-operation: calls, branches, loops, locks, fences, printing, barriers."""

from max.gpu import barrier, block_dim, block_idx, global_idx, grid_dim, lane_id, thread_idx
from max.gpu.host import DeviceContext
from max.gpu.intrinsics import threadfence
from max.gpu.memory import external_memory
from max.gpu.sync import named_barrier, named_barrier_arrive, syncwarp
from max.gpu.sync.semaphore import Semaphore
from std.atomic import Atomic, Ordering, fence
from std.memory import AddressSpace, Pointer, stack_allocation

comptime Floats = Pointer[Float32, MutAnyOrigin]
comptime Ints = Pointer[Int32, MutAnyOrigin]
comptime TPB = 64


@no_inline
def polynomial(x: Float32, degree: Int32) -> Float32:
    """1 + x + ... + x ** degree."""
    var total = Float32(1)
    for _ in range(Int(degree)):
        total = total * x + 1
    return total


@no_inline
def swap_if_greater(values: Pointer[mut=True, Int32, _, ...], i: Int, j: Int) -> Bool:
    if values[i] > values[j]:
        var kept = values[i]
        values[i] = values[j]
        values[j] = kept
        return True
    return False


@no_inline
def gcd(a: Int32, b: Int32) -> Int32:
    return a if b == 0 else gcd(b, a % b)


def device_functions(output: Floats, a: Floats, degrees: Ints, n: Int32):
    """A call that threads make with different arguments, and that some do not make at all."""
    var i = global_idx.x
    if i < Int(n):
        output[i] = polynomial(a[i], degrees[i]) if a[i] > 0 else polynomial(-a[i], 2) + 1


def bubble_sort_by_calls(data: Ints, swaps: Ints, n: Int32):
    """Each thread sorts four numbers through a function that takes a pointer."""
    var i = global_idx.x
    if i < Int(n):
        var count = Int32(0)
        for last in range(3, 0, -1):
            for j in range(last):
                if swap_if_greater(data + 4 * i, j, j + 1):
                    count += 1
        swaps[i] = count


def recursive_gcd(output: Ints, a: Ints, b: Ints, n: Int32):
    var i = global_idx.x
    if i < Int(n):
        output[i] = gcd(a[i], b[i])


def interpreter(output: Ints, codes: Ints, a: Ints, n: Int32):
    """A switch of eight cases: each thread runs the same little program of digits on its own number."""
    var i = global_idx.x
    if i >= Int(n):
        return
    var x = a[i]
    var program = codes[i]
    while program != 0:
        var code = program & 7
        if code == 0:
            x += 1
        elif code == 1:
            x *= 3
        elif code == 2:
            x ^= 0x55
        elif code == 3:
            x = -x
        elif code == 4:
            x >>= 1
        elif code == 5:
            x += Int32(i)
        elif code == 6:
            x = x if x > 100 else x + 100
        else:
            break
        program >>= 3
    output[i] = x


def nested_loops(output: Ints, n: Int32):
    """How many pairs j <= k below i have j * k == i - 1; with continue and break."""
    var i = Int32(global_idx.x)
    if i >= n:
        return
    var found = Int32(0)
    for j in range(Int32(1), i):
        if (i - 1) % j != 0:
            continue
        for k in range(j, i):
            if j * k > i - 1:
                break
            if j * k == i - 1:
                found += 1
    output[Int(i)] = found


def early_returns(output: Ints, a: Ints, n: Int32):
    """Threads leave at different places, some before the barrier."""
    var tile = stack_allocation[TPB, Int32, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    var i = global_idx.x
    if i >= Int(n):
        return
    tile[local] = a[i]
    barrier()
    if tile[local] < 0:
        output[i] = -1
        return
    var neighbour = local ^ 1
    if block_idx.x * block_dim.x + neighbour >= Int(n):
        output[i] = -2
        return
    output[i] = tile[neighbour]


def binary_search(output: Ints, sorted_keys: Ints, wanted: Ints, keys: Int32, n: Int32):
    """The number of keys that are less than the wanted one."""
    var i = global_idx.x
    if i >= Int(n):
        return
    var low = Int32(0)
    var high = keys
    while low < high:
        var middle = (low + high) // 2
        if sorted_keys[Int(middle)] < wanted[i]:
            low = middle + 1
        else:
            high = middle
    output[i] = low


def dynamic_shared(output: Floats, a: Floats):
    """Reverses each block through shared memory whose size the launch gives."""
    var tile = external_memory[Float32, address_space=AddressSpace.SHARED, alignment=16]()
    var local = thread_idx.x
    tile[local] = a[global_idx.x]
    barrier()
    output[global_idx.x] = tile[block_dim.x - 1 - local]


def lookup_table(output: Ints, a: Ints, n: Int32):
    """A table known at compile time, indexed at run time."""
    comptime table = SIMD[DType.int32, 16](3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3)
    var values = stack_allocation[16, Int32]()
    comptime for j in range(16):
        values[j] = table[j]
    var i = global_idx.x
    if i < Int(n):
        output[i] = values[Int(a[i] & 15)]


def atomics(output: Ints, a: Ints, n: Int32):
    """Into output[0..4]: sum, maximum, minimum, a count by compare and exchange, and the sum of squares."""
    var i = global_idx.x
    if i < Int(n):
        _ = Atomic.fetch_add(output, a[i])
        Atomic.max(output + 1, a[i])
        Atomic.min(output + 2, a[i])
        var expected = Atomic.load(output + 3)
        while not Atomic.compare_exchange(output + 3, expected, expected + 1):
            pass
        _ = Atomic.fetch_add(output + 4, a[i] * a[i])


def float_atomics(output: Floats, wide: Pointer[Float64, MutAnyOrigin], a: Floats, n: Int32):
    """The sum in float32 and float64, and the largest."""
    var i = global_idx.x
    if i < Int(n):
        _ = Atomic.fetch_add(output, a[i])
        _ = Atomic.fetch_add(wide, a[i].cast[DType.float64]())
        Atomic.max(output + 1, a[i])


def last_block_sums(output: Floats, partial: Floats, counter: Ints, a: Floats, n: Int32):
    """Each block leaves a partial sum; the last to finish adds them up."""
    var tile = stack_allocation[TPB, Float32, address_space=AddressSpace.SHARED]()
    var is_last = stack_allocation[1, Int32, address_space=AddressSpace.SHARED]()
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
        partial[block_idx.x] = tile[0]
        threadfence()
        is_last[0] = 1 if Int(Atomic.fetch_add(counter, 1)) == grid_dim.x - 1 else 0
    barrier()
    if is_last[0] == 1 and local == 0:
        threadfence()
        var total = Float32(0)
        for block in range(grid_dim.x):
            total += partial[block]
        output[0] = total


def spin_lock(lock: Ints, data: Ints):
    """The first thread of each block takes the lock and changes two plain numbers together."""
    if thread_idx.x == 0:
        var free = Int32(0)
        while not Atomic.compare_exchange(lock, free, 1):
            free = 0
        threadfence()
        data[0] += 1
        data[1] = data[1] * 3 + Int32(block_idx.x) % 2
        threadfence()
        Atomic.store(lock, 0)


def semaphore_chain(output: Ints, lock: Ints):
    """Blocks take turns in the order of their numbers."""
    var turn = Semaphore(lock, Int(thread_idx.x))
    turn.fetch()
    turn.wait(Int(block_idx.x))
    if thread_idx.x == 0:
        output[0] = output[0] * 10 + Int32(block_idx.x) + 1
    turn.release(Int32(block_idx.x) + 1)


def producer_consumer(output: Ints, a: Ints):
    """Two warps fill a tile and arrive at barrier 1 without waiting; two others wait there and read it."""
    var tile = stack_allocation[TPB, Int32, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    if local < 64:
        tile[local] = a[block_idx.x * 64 + local] * 2
        named_barrier_arrive[128](1)
    else:
        named_barrier[128](1)
        output[block_idx.x * 64 + local - 64] = tile[127 - local]


def printing(output: Ints, a: Ints):
    if thread_idx.x == 0:
        print("block", block_idx.x, "has", a[0])
    output[global_idx.x] = a[0] + 1


def asserting(output: Ints, a: Ints, n: Int32):
    """An assertion that holds."""
    var i = global_idx.x
    if i < Int(n):
        debug_assert[assert_mode="safe"](a[i] >= 0, "the values must not be negative")
        output[i] = a[i] * 2


def main() raises:
    var ctx = DeviceContext()
    var f = ctx.enqueue_create_buffer[DType.float32](1).unsafe_ptr().as_unsafe_any_origin()
    var d = ctx.enqueue_create_buffer[DType.float64](1).unsafe_ptr().as_unsafe_any_origin()
    var i = ctx.enqueue_create_buffer[DType.int32](1).unsafe_ptr().as_unsafe_any_origin()
    var n = Int32(1)
    ctx.enqueue_function[device_functions](f, f, i, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[bubble_sort_by_calls](i, i, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[recursive_gcd](i, i, i, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[interpreter](i, i, i, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[nested_loops](i, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[early_returns](i, i, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[binary_search](i, i, i, n, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[dynamic_shared](f, f, grid_dim=1, block_dim=1, shared_mem_bytes=4)
    ctx.enqueue_function[lookup_table](i, i, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[atomics](i, i, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[float_atomics](f, d, f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[last_block_sums](f, f, i, f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[spin_lock](i, i, grid_dim=1, block_dim=1)
    ctx.enqueue_function[semaphore_chain](i, i, grid_dim=1, block_dim=1)
    ctx.enqueue_function[producer_consumer](i, i, grid_dim=1, block_dim=1)
    ctx.enqueue_function[printing](i, i, grid_dim=1, block_dim=1)
    ctx.enqueue_function[asserting](i, i, n, grid_dim=1, block_dim=1)
