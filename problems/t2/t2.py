"""Tutorial 2, the Python side: a MAX Graph with one custom operation, `vector_addition`, which op.mojo implements.

Run it with `workbook run t2`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from max.driver import CPU, Buffer, Device
from max.dtype import DType
from max.engine import InferenceSession
from max.graph import DeviceRef, Graph, TensorType, TensorValue, ops

Arrays = tuple[np.ndarray, np.ndarray]  # two vectors of float32, of one size


def vector_addition(lhs: TensorValue, rhs: TensorValue) -> TensorValue:
    """One node of the graph: the operation that op.mojo registers as "vector_addition"."""
    return ops.custom(
        name="vector_addition",
        device=lhs.device,
        values=[lhs, rhs],
        out_types=[TensorType(lhs.dtype, lhs.shape, lhs.device)],
    )[0].tensor


def build_graph(cases: Sequence[Arrays], device: Device, extensions: list[Path]) -> Graph:
    """A graph that adds the vectors of every case. Its inputs are the vectors of all cases in turn.

    `extensions` are the compiled Mojo packages: the kernels, and the op that launches one of them.
    """
    where = DeviceRef.from_device(device)
    input_types = [TensorType(DType.float32, vector.shape, where) for case in cases for vector in case]
    with Graph("vector_addition_graph", input_types=input_types, custom_extensions=extensions) as graph:
        values = [value.tensor for value in graph.inputs]
        graph.output(*(vector_addition(lhs, rhs) for lhs, rhs in zip(values[0::2], values[1::2], strict=True)))
    return graph


def make_case(random: np.random.Generator, size: int) -> Arrays:
    """Two random vectors of the size that puzzles.toml gives."""
    lhs, rhs = random.uniform(1, 2, (2, size)).astype(np.float32)
    return lhs, rhs


def expected_result(lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    """What the operation must give."""
    return lhs + rhs


def main(device: Device, extensions: list[Path]) -> None:
    lhs, rhs = np.random.default_rng().random((2, 10), np.float32)
    session = InferenceSession(devices=[device])
    model = session.load(build_graph([(lhs, rhs)], device, extensions))

    # The vectors go to the device, the result comes back from it.
    (result,) = model.execute(Buffer.from_numpy(lhs).to(device), Buffer.from_numpy(rhs).to(device))
    result_array = result.to(CPU()).to_numpy()

    print("Left-hand-side values:")
    print(lhs)
    print()
    print("Right-hand-side values:")
    print(rhs)
    print()
    print("Graph result:")
    print(result_array)
    print()
    print("Expected result:")
    print(expected_result(lhs, rhs))

    np.testing.assert_allclose(result_array, expected_result(lhs, rhs), rtol=1e-5)


if __name__ == "__main__":
    raise SystemExit("Run it with `workbook run t2`: that compiles op.mojo, chooses the device and calls main().")
