"""A kernel that does not write every element: what the others hold is up to whoever wrote them before."""

import extensibility
from extensibility import InputTensor, OutputTensor
from layout import TileTensor
from layout.tile_layout import TensorLayout, row_major
from max.gpu import block_dim, block_idx, thread_idx
from max.gpu.host import DeviceBuffer, DeviceContext
from std.math import ceildiv

comptime TPB = 8  # threads per block


def keep_positive_kernel[
    Layout: TensorLayout, size: Int, dtype: DType
](output: TileTensor[dtype, Layout, MutAnyOrigin], input: TileTensor[dtype, Layout, MutAnyOrigin]):
    var i = Int(block_dim.x * block_idx.x + thread_idx.x)
    if i < size and input[i] > 0:
        output[i] = input[i]


@extensibility.register("keep_positive")
struct KeepPositive:
    @staticmethod
    def execute[
        target: StaticString, size: Int, dtype: DType, zero_first: Bool
    ](
        output: OutputTensor[dtype=dtype, rank=1, static_spec=_],
        input: InputTensor[dtype=dtype, rank=1, static_spec=_],
        ctx: DeviceContext,
    ) raises:
        comptime assert target == "gpu", "keep_positive has no implementation for this device, only for GPUs"
        comptime layout = row_major[size]()
        comptime View = TileTensor[dtype, type_of(layout), MutAnyOrigin]
        var output_view = View(output.unsafe_ptr(), layout)
        var input_view = View(input.unsafe_ptr(), layout)

        comptime if zero_first:
            ctx.enqueue_memset(DeviceBuffer[dtype](ctx, output.unsafe_ptr(), size, owning=False), 0)
        ctx.enqueue_function[keep_positive_kernel[type_of(layout), size, dtype]](
            output_view, input_view, grid_dim=ceildiv(size, TPB), block_dim=TPB
        )
