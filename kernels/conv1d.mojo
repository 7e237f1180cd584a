"""1D convolution of a signal that is longer than one block: a shared-memory tile with a halo."""

from layout import TileTensor
from layout.tile_layout import TensorLayout, row_major
from layout.tile_tensor import stack_allocation
from max.gpu import block_dim, block_idx, thread_idx
from max.gpu.sync import barrier
from std.memory import AddressSpace

comptime TPB = 15  # threads per block
comptime BLOCKS_PER_GRID = 2


def conv1d_kernel[
    OutLayout: TensorLayout,
    InLayout: TensorLayout,
    ConvLayout: TensorLayout,
    input_size: Int,
    conv_size: Int,
    dtype: DType,
](
    output: TileTensor[dtype, OutLayout, MutAnyOrigin],
    input: TileTensor[dtype, InLayout, MutAnyOrigin],
    kernel: TileTensor[dtype, ConvLayout, MutAnyOrigin],
):
    """`output[i]` is the sum over `j` of `input[i + j] * kernel[j]`; input past the end counts as zero.

    Launch it with blocks of `TPB` threads, and enough blocks for one thread an output.

    Parameters:
        OutLayout: Layout of `output`.
        InLayout: Layout of `input`.
        ConvLayout: Layout of `kernel`.
        input_size: Elements of `input`, and of `output`.
        conv_size: Elements of `kernel`, at most `TPB`.
        dtype: Type of the elements.

    Args:
        output: Receives the result, `input_size` elements.
        input: The signal, `input_size` elements.
        kernel: The weights, `conv_size` elements.
    """
    comptime assert conv_size <= TPB, "each weight is loaded by a thread of its own: conv_size is at most TPB"

    var local_i = Int(thread_idx.x)
    var global_i = Int(block_dim.x * block_idx.x + thread_idx.x)

    # What the block's threads share: their own TPB elements, then the halo, and the weights.
    var tile = stack_allocation[dtype=dtype, address_space=AddressSpace.SHARED](row_major[TPB + conv_size - 1]())
    var weights = stack_allocation[dtype=dtype, address_space=AddressSpace.SHARED](row_major[conv_size]())

    # Own element: one a thread. Past the end of the input the tile is filled with zeros, so that every slot that is
    # read below has been written.
    tile[local_i] = input[global_i] if global_i < input_size else 0

    # Halo: the last threads of a block read conv_size - 1 elements that belong to the next block.
    if local_i < conv_size - 1:
        var next_i = global_i + TPB
        tile[TPB + local_i] = input[next_i] if next_i < input_size else 0

    if local_i < conv_size:
        weights[local_i] = kernel[local_i]

    # No thread goes on before all have written their slots.
    barrier()

    # The guard: the last block has more threads than there are elements left.
    if global_i < input_size:
        var total = Scalar[dtype](0)
        comptime for j in range(conv_size):
            total += tile[local_i + j] * weights[j]
        output[global_i] = total
