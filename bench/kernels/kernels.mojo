"""The kernels that bench/software_gpu.py runs. `compile.sh` says how kernels.ptx is made from them."""

from layout.tile_layout import row_major
from layout.tile_tensor import stack_allocation
from max.gpu import block_dim, block_idx, thread_idx
from max.gpu.host import DeviceContext
from max.gpu.sync import barrier
from std.memory import AddressSpace, Pointer

comptime Buffer = Pointer[Float32, MutAnyOrigin]
comptime TPB = 128
comptime WEIGHTS = 4
comptime TILE = 16


def vector_add(output: Buffer, a: Buffer, b: Buffer, size: Int32):
    var i = Int(block_dim.x * block_idx.x + thread_idx.x)
    if i < Int(size):
        output[unsafe_offset=i] = a[unsafe_offset=i] + b[unsafe_offset=i]


def conv1d(output: Buffer, input: Buffer, weights: Buffer, size: Int32):
    """`output[i]` is the sum over `j` of `input[i + j] * weights[j]`; input past the end counts as zero."""
    var local_i = Int(thread_idx.x)
    var i = Int(block_dim.x * block_idx.x + thread_idx.x)
    var tile = stack_allocation[dtype=DType.float32, address_space=AddressSpace.SHARED](row_major[TPB + WEIGHTS - 1]())
    tile[local_i] = input[unsafe_offset=i] if i < Int(size) else 0
    if local_i < WEIGHTS - 1:
        tile[TPB + local_i] = input[unsafe_offset=i + TPB] if i + TPB < Int(size) else 0
    barrier()
    if i < Int(size):
        var total = Float32(0)
        comptime for j in range(WEIGHTS):
            total += tile[local_i + j] * weights[unsafe_offset=j]
        output[unsafe_offset=i] = total


def block_sum(output: Buffer, input: Buffer, size: Int32):
    """`output[block]` is the sum of the block's elements: a tree in shared memory."""
    var local_i = Int(thread_idx.x)
    var i = Int(block_dim.x * block_idx.x + thread_idx.x)
    var partial = stack_allocation[dtype=DType.float32, address_space=AddressSpace.SHARED](row_major[TPB]())
    partial[local_i] = input[unsafe_offset=i] if i < Int(size) else 0
    barrier()
    var stride = TPB // 2
    while stride > 0:
        if local_i < stride:
            partial[local_i] += partial[local_i + stride]
        barrier()
        stride //= 2
    if local_i == 0:
        output[unsafe_offset=Int(block_idx.x)] = partial[0]


def matmul(output: Buffer, a: Buffer, b: Buffer, size: Int32):
    """`output = a @ b` of square matrices, whose size is a multiple of TILE: a tile of each in shared memory."""
    var n = Int(size)
    var column = Int(thread_idx.x)
    var row = Int(thread_idx.y)
    var i = Int(block_idx.y) * TILE + row
    var j = Int(block_idx.x) * TILE + column
    var a_tile = stack_allocation[dtype=DType.float32, address_space=AddressSpace.SHARED](row_major[TILE * TILE]())
    var b_tile = stack_allocation[dtype=DType.float32, address_space=AddressSpace.SHARED](row_major[TILE * TILE]())
    var total = Float32(0)
    for step in range(n // TILE):
        a_tile[row * TILE + column] = a[unsafe_offset=i * n + step * TILE + column]
        b_tile[row * TILE + column] = b[unsafe_offset=(step * TILE + row) * n + j]
        barrier()
        comptime for k in range(TILE):
            total += a_tile[row * TILE + k] * b_tile[k * TILE + column]
        barrier()
    output[unsafe_offset=i * n + j] = total


def main() raises:
    """Launches every kernel once, which is what makes the compiler write it."""
    var ctx = DeviceContext()
    var x = ctx.enqueue_create_buffer[DType.float32](1)
    var y = ctx.enqueue_create_buffer[DType.float32](1)
    var z = ctx.enqueue_create_buffer[DType.float32](1)
    var size = Int32(1)
    ctx.enqueue_function[vector_add](x, y, z, size, grid_dim=1, block_dim=TPB)
    ctx.enqueue_function[conv1d](x, y, z, size, grid_dim=1, block_dim=TPB)
    ctx.enqueue_function[block_sum](x, y, size, grid_dim=1, block_dim=TPB)
    ctx.enqueue_function[matmul](x, y, z, size, grid_dim=1, block_dim=(TILE, TILE))
