"""Puzzle 17: a kernel becomes an operation that a MAX Graph can call."""

import extensibility
from extensibility import InputTensor, OutputTensor
from kernels.conv1d import BLOCKS_PER_GRID, TPB, conv1d_kernel
from layout import TileTensor
from layout.tile_layout import row_major
from max.gpu.host import DeviceBuffer, DeviceContext
from std.math import ceildiv


@extensibility.register("conv1d")
struct Conv1D:
    """The name above is the one that `ops.custom(name="conv1d", …)` asks for in p17.py."""

    @staticmethod
    def execute[
        target: StaticString,  # "gpu" or "cpu": MAX compiles this function for the device of the graph
        input_size: Int,  # the three below come from `parameters={…}` in p17.py
        conv_size: Int,
        dtype: DType,
    ](
        output: OutputTensor[dtype=dtype, rank=1, static_spec=_],  # MAX allocates it and passes it first
        input: InputTensor[dtype=dtype, rank=1, static_spec=_],
        kernel: InputTensor[dtype=dtype, rank=1, static_spec=_],
        ctx: DeviceContext,
    ) raises:
        comptime out_layout = row_major[input_size]()
        comptime in_layout = row_major[input_size]()
        comptime conv_layout = row_major[conv_size]()
        comptime OutLayout = type_of(out_layout)
        comptime InLayout = type_of(in_layout)
        comptime ConvLayout = type_of(conv_layout)

        # Views of MAX's buffers, of the type that the kernel takes.
        var output_tensor = TileTensor[dtype, OutLayout, MutAnyOrigin](output.unsafe_ptr(), out_layout)
        var input_tensor = TileTensor[dtype, InLayout, MutAnyOrigin](input.unsafe_ptr(), in_layout)
        var kernel_tensor = TileTensor[dtype, ConvLayout, MutAnyOrigin](kernel.unsafe_ptr(), conv_layout)

        comptime if target == "gpu":
            # The output buffer holds whatever was there before: set it to zero.
            ctx.enqueue_memset(DeviceBuffer[dtype](ctx, output.unsafe_ptr(), input_size, owning=False), 0)

            # >>> your code
            # Launch conv1d_kernel here, with ctx.enqueue_function.
            # <<< your code
        elif target == "cpu":
            for i in range(input_size):
                var total = Scalar[dtype](0)
                for j in range(min(conv_size, input_size - i)):
                    total += input_tensor[i + j] * kernel_tensor[j]
                output_tensor[i] = total
        else:
            raise Error("conv1d has no implementation for the target '" + target + "', only for 'gpu' and 'cpu'")
