"""The op that the experiments take apart: output[i] = left[i] - right[i], on a CPU or on a GPU."""

import extensibility
from extensibility import InputTensor, OutputTensor
from layout import TileTensor
from layout.tile_layout import TensorLayout, row_major
from max.gpu import block_dim, block_idx, thread_idx
from max.gpu.host import DeviceContext
from std.math import ceildiv

comptime TPB = 8  # threads per block


def subtract_kernel[
    Layout: TensorLayout, size: Int, dtype: DType
](
    output: TileTensor[dtype, Layout, MutAnyOrigin],
    left: TileTensor[dtype, Layout, MutAnyOrigin],
    right: TileTensor[dtype, Layout, MutAnyOrigin],
):
    var i = Int(block_dim.x * block_idx.x + thread_idx.x)
    if i < size:
        output[i] = left[i] - right[i]


@extensibility.register("subtract")
struct Subtract:
    @staticmethod
    def execute[
        target: StaticString,  # from MAX: the device that it compiles this for
        size: Int,  # from `parameters={…}` in subtract.py
        dtype: DType,
    ](
        output: OutputTensor[dtype=dtype, rank=1, static_spec=_],
        left: InputTensor[dtype=dtype, rank=1, static_spec=_],
        right: InputTensor[dtype=dtype, rank=1, static_spec=_],
        ctx: DeviceContext,
    ) raises:
        comptime layout = row_major[size]()
        comptime View = TileTensor[dtype, type_of(layout), MutAnyOrigin]
        var output_view = View(output.unsafe_ptr(), layout)
        var left_view = View(left.unsafe_ptr(), layout)
        var right_view = View(right.unsafe_ptr(), layout)

        comptime if target == "gpu":
            ctx.enqueue_function[subtract_kernel[type_of(layout), size, dtype]](
                output_view, left_view, right_view, grid_dim=ceildiv(size, TPB), block_dim=TPB
            )
        elif target == "cpu":
            for i in range(size):
                output_view[i] = left_view[i] - right_view[i]
        else:
            raise Error("subtract has no implementation for the target '" + target + "', only for 'gpu' and 'cpu'")
