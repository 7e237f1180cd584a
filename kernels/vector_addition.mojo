"""Addition of two vectors, one thread an element: the smallest kernel that needs a guard."""

from layout import TileTensor
from layout.tile_layout import TensorLayout
from max.gpu import block_dim, block_idx, thread_idx

comptime TPB = 16  # threads per block


def vector_addition_kernel[
    Layout: TensorLayout,
    dtype: DType,
](
    output: TileTensor[dtype, Layout, MutAnyOrigin],
    lhs: TileTensor[dtype, Layout, MutAnyOrigin],
    rhs: TileTensor[dtype, Layout, MutAnyOrigin],
    size: Int32,
):
    """`output[i]` is `lhs[i] + rhs[i]`.

    Launch it with enough threads for one an element.

    Parameters:
        Layout: Layout of the three vectors.
        dtype: Type of the elements.

    Args:
        output: Receives the result, `size` elements.
        lhs: The left-hand side, `size` elements.
        rhs: The right-hand side, `size` elements.
        size: Elements of each of the three.
    """
    var i = Int(block_dim.x * block_idx.x + thread_idx.x)

    # The guard: the last block has more threads than there are elements left.
    if i < Int(size):
        output[i] = lhs[i] + rhs[i]
