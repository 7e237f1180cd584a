"""Tutorial 2: one operation with two implementations, one for CPUs and one for GPUs."""

import extensibility
from extensibility import InputTensor, OutputTensor
from kernels.vector_addition import TPB, vector_addition_kernel
from layout import TileTensor
from layout.tile_layout import TensorLayout, row_major
from max.gpu.host import DeviceContext
from std.math import ceildiv


def add_on_cpu[
    Layout: TensorLayout, dtype: DType
](
    output: TileTensor[dtype, Layout, MutAnyOrigin],
    lhs: TileTensor[dtype, Layout, MutAnyOrigin],
    rhs: TileTensor[dtype, Layout, MutAnyOrigin],
    size: Int,
):
    for i in range(size):
        output[i] = lhs[i] + rhs[i]


def add_on_gpu[
    Layout: TensorLayout, dtype: DType
](
    output: TileTensor[dtype, Layout, MutAnyOrigin],
    lhs: TileTensor[dtype, Layout, MutAnyOrigin],
    rhs: TileTensor[dtype, Layout, MutAnyOrigin],
    size: Int,
    ctx: DeviceContext,
) raises:
    # >>> your code
    # Launch vector_addition_kernel here, with ctx.enqueue_function.
    # <<< your code


@extensibility.register("vector_addition")
struct VectorAddition:
    """The name above is the one that `ops.custom(name="vector_addition", …)` asks for in t2.py."""

    @staticmethod
    def execute[
        target: StaticString,  # "gpu" or "cpu": MAX compiles this function for the device of the graph
    ](
        output: OutputTensor[rank=1, ...],  # MAX allocates it and passes it first
        lhs: InputTensor[dtype=output.dtype, rank=1, ...],
        rhs: InputTensor[dtype=output.dtype, rank=1, ...],
        ctx: DeviceContext,
    ) raises:
        # Views of MAX's buffers, of the type that the two functions take.
        var size = output.size()
        var layout = row_major(size)
        comptime View = TileTensor[output.dtype, type_of(layout), MutAnyOrigin]
        var output_view = View(output.unsafe_ptr(), layout)
        var lhs_view = View(lhs.unsafe_ptr(), layout)
        var rhs_view = View(rhs.unsafe_ptr(), layout)

        comptime if target == "cpu":
            add_on_cpu(output_view, lhs_view, rhs_view, size)
        elif target == "gpu":
            add_on_gpu(output_view, lhs_view, rhs_view, size, ctx)
        else:
            raise Error("vector_addition has no implementation for the target '" + target + "', only for 'cpu' and 'gpu'")
