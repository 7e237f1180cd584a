"""Tutorial 1, the Python side: a MAX Graph with one custom operation, `add_one`, which op.mojo implements.

Run it with `workbook run t1`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from max.driver import CPU, Buffer, Device
from max.dtype import DType
from max.engine import InferenceSession
from max.graph import DeviceRef, Graph, TensorType, TensorValue, ops

Arrays = tuple[np.ndarray]  # a matrix of float32


def add_one(input: TensorValue) -> TensorValue:
    """One node of the graph: the operation that op.mojo registers as "add_one"."""
    return ops.custom(
        name="add_one",
        device=input.device,
        values=[input],
        out_types=[TensorType(input.dtype, input.shape, input.device)],
    )[0].tensor


def build_graph(cases: Sequence[Arrays], device: Device, extensions: list[Path]) -> Graph:
    """A graph that adds one to every matrix. `extensions` are the compiled Mojo packages; the op is in one of them."""
    where = DeviceRef.from_device(device)
    input_types = [TensorType(DType.float32, matrix.shape, where) for (matrix,) in cases]
    with Graph("add_one_graph", input_types=input_types, custom_extensions=extensions) as graph:
        graph.output(*(add_one(value.tensor) for value in graph.inputs))
    return graph


def make_case(random: np.random.Generator, rows: int, columns: int) -> Arrays:
    """A random matrix of the size that puzzles.toml gives."""
    return (random.uniform(1, 2, (rows, columns)).astype(np.float32),)


def expected_result(input: np.ndarray) -> np.ndarray:
    """What the operation must give."""
    return input + 1


def main(device: Device, extensions: list[Path]) -> None:
    matrix = np.random.default_rng().random((5, 10), np.float32)
    session = InferenceSession(devices=[device])
    model = session.load(build_graph([(matrix,)], device, extensions))

    # The matrix goes to the device, the result comes back from it.
    (result,) = model.execute(Buffer.from_numpy(matrix).to(device))
    result_array = result.to(CPU()).to_numpy()

    print("Graph result:")
    print(result_array)
    print()
    print("Expected result:")
    print(expected_result(matrix))

    np.testing.assert_allclose(result_array, expected_result(matrix), rtol=1e-5)


if __name__ == "__main__":
    raise SystemExit("Run it with `workbook run t1`: that compiles op.mojo, chooses the device and calls main().")
