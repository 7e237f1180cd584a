"""Tutorial 1: the smallest custom op. It adds one to every element of a tensor, on a CPU or on a GPU."""

import extensibility
from extensibility import InputTensor, OutputTensor, foreach
from max.gpu.host import DeviceContext
from std.utils.coord import Coord


@extensibility.register("add_one")
struct AddOne:
    """The name above is the one that `ops.custom(name="add_one", …)` asks for in t1.py."""

    @staticmethod
    def execute[
        target: StaticString,  # "gpu" or "cpu": MAX compiles this function for the device of the graph
    ](
        output: OutputTensor[...],  # MAX allocates it and passes it first
        input: InputTensor[dtype=output.dtype, rank=output.rank, ...],
        ctx: DeviceContext,
    ) raises:
        # What is to be done with `width` neighbouring elements, the first of which is at the index `idx`.
        def add_one[width: Int](idx: Coord) {var input} -> SIMD[output.dtype, width]:
            return input.load[width](idx) + 1

        # >>> your code
        # Call foreach here.
        # <<< your code
