"""Copies a matrix as a view of its bytes shows it. The view's layout and dtype are parameters: they may be wrong."""

import extensibility
from extensibility import InputTensor, OutputTensor
from layout import TileTensor
from layout.tile_layout import TensorLayout, col_major, row_major
from max.gpu.host import DeviceContext


@extensibility.register("look_through")
struct LookThrough:
    @staticmethod
    def execute[
        target: StaticString, rows: Int, columns: Int, order: StaticString, dtype: DType
    ](
        output: OutputTensor[dtype=dtype, rank=2, static_spec=_],
        input: InputTensor[rank=2, ...],
        ctx: DeviceContext,
    ) raises:
        comptime assert target == "cpu", "look_through has no implementation for this device, only for the CPU"

        def copy[Layout: TensorLayout](layout: Layout) {imm}:
            var view = TileTensor[dtype, Layout, MutAnyOrigin](input.unsafe_ptr().bitcast[Scalar[dtype]](), layout)
            comptime out_layout = row_major[rows, columns]()
            var written = TileTensor[dtype, type_of(out_layout), MutAnyOrigin](output.unsafe_ptr(), out_layout)
            for row in range(rows):
                for column in range(columns):
                    written[row, column] = view[row, column]

        comptime if order == "row_major":
            copy(row_major[rows, columns]())
        elif order == "col_major":
            copy(col_major[rows, columns]())
        else:
            comptime assert False, "order is row_major or col_major"
