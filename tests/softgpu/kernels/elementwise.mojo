"""Kernels in which a thread works for itself, or with its block through a tile: the first puzzles of a GPU course."""

from layout import TileTensor
from layout.tile_layout import TensorLayout, row_major
from layout.tile_tensor import stack_allocation as tile_allocation
from max.gpu import block_dim, block_idx, global_idx, grid_dim, thread_idx
from max.gpu.host import DeviceContext
from max.gpu.sync import barrier
from std.memory import AddressSpace, Pointer, stack_allocation

comptime Floats = Pointer[Float32, MutAnyOrigin]
comptime Ints = Pointer[Int32, MutAnyOrigin]
comptime TPB = 32


def vector_add(output: Floats, a: Floats, b: Floats, n: Int32):
    var i = global_idx.x
    if i < Int(n):
        output[i] = a[i] + b[i]


def map_guard(output: Floats, a: Floats, n: Int32):
    var i = thread_idx.x
    if i < Int(n):
        output[i] = a[i] + 10


def grid_stride(output: Floats, a: Floats, factor: Float32, n: Int32):
    var stride = grid_dim.x * block_dim.x
    var i = global_idx.x
    while i < Int(n):
        output[i] = factor * a[i] + output[i]
        i += stride


def vector_add_by_four(output: Floats, a: Floats, b: Floats, n: Int32):
    """`n` is the number of vectors of four."""
    var i = global_idx.x
    if i < Int(n):
        var sums = a.unsafe_load[width=4, alignment=16](4 * i) + b.unsafe_load[width=4, alignment=16](4 * i)
        output.unsafe_store[alignment=16](4 * i, sums)


def map_2d(output: Floats, a: Floats, rows: Int32, columns: Int32):
    var row = global_idx.y
    var column = global_idx.x
    if row < Int(rows) and column < Int(columns):
        output[row * Int(columns) + column] = a[row * Int(columns) + column] * 2 + Float32(row)


def map_3d(output: Ints, nx: Int32, ny: Int32, nz: Int32):
    var x = Int32(global_idx.x)
    var y = Int32(global_idx.y)
    var z = Int32(global_idx.z)
    if x < nx and y < ny and z < nz:
        output[Int((z * ny + y) * nx + x)] = x + 100 * y + 10000 * z


def broadcast_add(output: Floats, row: Floats, column: Floats, n: Int32):
    var i = global_idx.y
    var j = global_idx.x
    if i < Int(n) and j < Int(n):
        output[i * Int(n) + j] = row[j] + column[i]


def tensor_add[
    Layout: TensorLayout
](
    output: TileTensor[DType.float32, Layout, MutAnyOrigin],
    a: TileTensor[DType.float32, Layout, MutAnyOrigin],
    b: TileTensor[DType.float32, Layout, MutAnyOrigin],
):
    """As `vector_add`, on 20 x 30 tensors whose layout is known at compile time."""
    var row = global_idx.y
    var column = global_idx.x
    if row < 20 and column < 30:
        output[row, column] = a[row, column] + b[row, column]


def pooling(output: Floats, a: Floats, n: Int32):
    """`output[i]` is the sum of the last three elements up to `a[i]`, through a tile with a halo on the left."""
    var tile = stack_allocation[TPB + 2, Float32, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    var i = global_idx.x
    tile[local + 2] = a[i] if i < Int(n) else 0
    if local < 2:
        tile[local] = a[i - 2] if i >= 2 and i - 2 < Int(n) else 0
    barrier()
    if i < Int(n):
        output[i] = tile[local] + tile[local + 1] + tile[local + 2]


def conv1d_block_boundary(output: Floats, a: Floats, weights: Floats, n: Int32, taps: Int32):
    """`output[i]` is the sum over `j < taps` of `a[i + j] * weights[j]`; at most TPB taps, blocks of TPB."""
    var tile = stack_allocation[2 * TPB, Float32, address_space=AddressSpace.SHARED]()
    var shared_weights = stack_allocation[TPB, Float32, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    var i = global_idx.x
    tile[local] = a[i] if i < Int(n) else 0
    if local < Int(taps) - 1:
        tile[TPB + local] = a[i + TPB] if i + TPB < Int(n) else 0
    if local < Int(taps):
        shared_weights[local] = weights[local]
    barrier()
    if i < Int(n):
        var total = Float32(0)
        for j in range(Int(taps)):
            total += tile[local + j] * shared_weights[j]
        output[i] = total


def stencil_2d(output: Floats, a: Floats, rows: Int32, columns: Int32):
    """The five-point Laplacian through a tile of 8 x 16 with a halo of one; outside counts as zero."""
    comptime H = 8
    comptime W = 16
    var tile = stack_allocation[(H + 2) * (W + 2), Float32, address_space=AddressSpace.SHARED]()
    var first_row = Int(block_idx.y) * H - 1
    var first_column = Int(block_idx.x) * W - 1
    var slot = Int(thread_idx.y) * W + Int(thread_idx.x)
    while slot < (H + 2) * (W + 2):
        var row = first_row + slot // (W + 2)
        var column = first_column + slot % (W + 2)
        var inside = row >= 0 and row < Int(rows) and column >= 0 and column < Int(columns)
        tile[slot] = a[row * Int(columns) + column] if inside else 0
        slot += H * W
    barrier()
    var row = first_row + 1 + Int(thread_idx.y)
    var column = first_column + 1 + Int(thread_idx.x)
    if row < Int(rows) and column < Int(columns):
        var centre = (Int(thread_idx.y) + 1) * (W + 2) + Int(thread_idx.x) + 1
        var around = tile[centre - 1] + tile[centre + 1] + tile[centre - W - 2] + tile[centre + W + 2]
        output[row * Int(columns) + column] = around - 4 * tile[centre]


def transpose(output: Floats, a: Floats, rows: Int32, columns: Int32):
    """Blocks of 16 x 16, through a tile with one column of padding against bank conflicts."""
    comptime T = 16
    var tile = stack_allocation[T * (T + 1), Float32, address_space=AddressSpace.SHARED]()
    var tx = Int(thread_idx.x)
    var ty = Int(thread_idx.y)
    var column = Int(block_idx.x) * T + tx
    var row = Int(block_idx.y) * T + ty
    if row < Int(rows) and column < Int(columns):
        tile[ty * (T + 1) + tx] = a[row * Int(columns) + column]
    barrier()
    var to_row = Int(block_idx.x) * T + ty
    var to_column = Int(block_idx.y) * T + tx
    if to_row < Int(columns) and to_column < Int(rows):
        output[to_row * Int(rows) + to_column] = tile[tx * (T + 1) + ty]


def embedding_gather(output: Floats, table: Floats, indices: Ints, count: Int32, width: Int32, vocabulary: Int32):
    """One block a token; an index outside the table gives a row of zeros."""
    var token = Int(block_idx.x)
    if token >= Int(count):
        return
    var index = Int(indices[token])
    var inside = index >= 0 and index < Int(vocabulary)
    var j = Int(thread_idx.x)
    while j < Int(width):
        output[token * Int(width) + j] = table[index * Int(width) + j] if inside else 0
        j += Int(block_dim.x)


def bytes_to_floats(output: Floats, a: Pointer[UInt8, MutAnyOrigin], n: Int32):
    """Packed pixels: `n` groups of four bytes."""
    var i = global_idx.x
    if i < Int(n):
        var pixels = a.unsafe_load[width=4, alignment=4](4 * i).cast[DType.float32]()
        output.unsafe_store[alignment=16](4 * i, pixels / 255)


def saturating_quantise(output: Pointer[Int8, MutAnyOrigin], a: Floats, scale: Float32, n: Int32):
    var i = global_idx.x
    if i < Int(n):
        var scaled = round(a[i] * scale)
        output[i] = max(min(scaled, Float32(127)), Float32(-128)).cast[DType.int8]()


def bitonic_sort(keys: Ints):
    """One block sorts its 256 keys with 256 threads."""
    var shared = stack_allocation[256, Int32, address_space=AddressSpace.SHARED]()
    var local = thread_idx.x
    shared[local] = keys[global_idx.x]
    barrier()
    var size = 2
    while size <= 256:
        var stride = size // 2
        while stride > 0:
            var other = local ^ stride
            if other > local:
                var ascending = (local & size) == 0
                var mine = shared[local]
                var theirs = shared[other]
                if (mine > theirs) == ascending:
                    shared[local] = theirs
                    shared[other] = mine
            barrier()
            stride //= 2
        size *= 2
    keys[global_idx.x] = shared[local]


def local_sort(output: Ints, a: Ints, n: Int32):
    """Each thread sorts eight numbers in an array of its own, by insertion."""
    var i = global_idx.x
    if i >= Int(n):
        return
    var mine = stack_allocation[8, Int32]()
    for j in range(8):
        var value = a[8 * i + j]
        var k = j
        while k > 0 and mine[k - 1] > value:
            mine[k] = mine[k - 1]
            k -= 1
        mine[k] = value
    for j in range(8):
        output[8 * i + j] = mine[j]


def main() raises:
    var ctx = DeviceContext()
    var f = ctx.enqueue_create_buffer[DType.float32](1).unsafe_ptr().as_unsafe_any_origin()
    var i = ctx.enqueue_create_buffer[DType.int32](1).unsafe_ptr().as_unsafe_any_origin()
    var b = ctx.enqueue_create_buffer[DType.uint8](1).unsafe_ptr().as_unsafe_any_origin()
    var s = ctx.enqueue_create_buffer[DType.int8](1).unsafe_ptr().as_unsafe_any_origin()
    var n = Int32(1)
    comptime layout = row_major[20, 30]()
    var t = TileTensor(f, layout)
    ctx.enqueue_function[vector_add](f, f, f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[map_guard](f, f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[grid_stride](f, f, Float32(1), n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[vector_add_by_four](f, f, f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[map_2d](f, f, n, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[map_3d](i, n, n, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[broadcast_add](f, f, f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[tensor_add[type_of(layout)]](t, t, t, grid_dim=1, block_dim=1)
    ctx.enqueue_function[pooling](f, f, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[conv1d_block_boundary](f, f, f, n, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[stencil_2d](f, f, n, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[transpose](f, f, n, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[embedding_gather](f, f, i, n, n, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[bytes_to_floats](f, b, n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[saturating_quantise](s, f, Float32(1), n, grid_dim=1, block_dim=1)
    ctx.enqueue_function[bitonic_sort](i, grid_dim=1, block_dim=1)
    ctx.enqueue_function[local_sort](i, i, n, grid_dim=1, block_dim=1)
