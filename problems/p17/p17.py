"""Puzzle 17, the Python side: a MAX Graph with one custom operation, `conv1d`, which op.mojo implements.

Run it with `workbook run p17`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from max.driver import CPU, Buffer, Device
from max.dtype import DType
from max.engine import InferenceSession
from max.graph import DeviceRef, Graph, TensorType, TensorValue, ops

Arrays = tuple[np.ndarray, np.ndarray]  # an input and a convolution kernel, both float32 of rank 1


def conv1d(input: TensorValue, kernel: TensorValue) -> TensorValue:
    """One node of the graph: the operation that op.mojo registers as "conv1d"."""
    return ops.custom(
        name="conv1d",
        device=input.device,
        values=[input, kernel],
        out_types=[TensorType(input.dtype, input.shape, input.device)],
        parameters={
            "input_size": int(input.shape[0]),
            "conv_size": int(kernel.shape[0]),
            "dtype": input.dtype,
        },
    )[0].tensor


def build_graph(cases: Sequence[Arrays], device: Device, extensions: list[Path]) -> Graph:
    """A graph that convolves every case. Its inputs are the arrays of all cases in turn.

    `extensions` are the compiled Mojo packages: the kernels, and the op that launches one of them.
    """
    where = DeviceRef.from_device(device)
    input_types = [TensorType(DType.float32, array.shape, where) for case in cases for array in case]
    with Graph("conv1d_graph", input_types=input_types, custom_extensions=extensions) as graph:
        values = [value.tensor for value in graph.inputs]
        graph.output(*(conv1d(input, kernel) for input, kernel in zip(values[0::2], values[1::2], strict=True)))
    return graph


def make_case(random: np.random.Generator, input_size: int, conv_size: int) -> Arrays:
    """Random arrays of the sizes that puzzles.toml gives. No element is near zero, the value of an output untouched."""
    return tuple(
        (random.uniform(0.5, 2.0, size) * random.choice([-1, 1], size)).astype(np.float32)
        for size in (input_size, conv_size)
    )


def expected_result(input: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """What the operation must give: output[i] = sum of input[i + j] * kernel[j], with zeros past the end."""
    padded = np.concatenate([input, np.zeros(len(kernel) - 1, input.dtype)])
    return np.correlate(padded, kernel, mode="valid")


def main(device: Device, extensions: list[Path]) -> None:
    input_array = np.arange(15, dtype=np.float32)
    kernel = np.arange(4, dtype=np.float32)
    expected = expected_result(input_array, kernel)
    print(f"Input array: {input_array}")
    print(f"Convolution kernel: {kernel}")
    print(f"Expected result (NumPy calculation): {expected}")

    print("Compiling 1D convolution graph...")
    session = InferenceSession(devices=[device])
    model = session.load(build_graph([(input_array, kernel)], device, extensions))

    print("Executing 1D convolution...")
    # The arrays go to the device, the result comes back from it.
    (result,) = model.execute(Buffer.from_numpy(input_array).to(device), Buffer.from_numpy(kernel).to(device))
    result_array = result.to(CPU()).to_numpy()
    print(f"1D Convolution result (custom Mojo kernel): {result_array}")

    np.testing.assert_allclose(result_array, expected, rtol=1e-5)
    print("Verification passed: Custom kernel results match NumPy calculation")


if __name__ == "__main__":
    raise SystemExit("Run it with `workbook run p17`: that compiles op.mojo, chooses the device and calls main().")
