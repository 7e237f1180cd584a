"""Puzzle 20: the op of puzzle 17, its very same file, becomes a function that PyTorch calls.

Run it with `workbook run p20`.
"""

from pathlib import Path

import numpy as np
import torch
from max.driver import CPU, Buffer, Device
from max.engine import InferenceSession
from max.experimental.torch import CustomOpLibrary
from max.graph import KernelLibrary
from p17 import build_graph, expected_result  # the Python side of puzzle 17: its graph, and what NumPy says


def open_library(packages: list[Path]) -> CustomOpLibrary:
    """The ops of compiled Mojo packages as functions of PyTorch. Each has the name that it is registered under."""
    mojo = KernelLibrary()
    mojo.load_paths(packages)
    return CustomOpLibrary(mojo)


def conv1d_pytorch(library: CustomOpLibrary, input_tensor: torch.Tensor, kernel_tensor: torch.Tensor) -> torch.Tensor:
    """The convolution of two tensors of rank 1 with the op of `library`, as a tensor like `input_tensor`."""
    # >>> your code
    conv1d = library.conv1d[{"input_size": input_tensor.shape[0], "conv_size": kernel_tensor.shape[0]}]
    output_tensor = torch.empty_like(input_tensor)
    torch.compile(conv1d)(output_tensor, input_tensor, kernel_tensor)
    return output_tensor
    # <<< your code


def conv1d_max_graph(device: Device, packages: list[Path], input_array: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The same with the graph of puzzle 17, on the same device."""
    session = InferenceSession(devices=[device])
    model = session.load(build_graph([(input_array, kernel)], device, packages))
    (result,) = model.execute(Buffer.from_numpy(input_array).to(device), Buffer.from_numpy(kernel).to(device))
    return result.to(CPU()).to_numpy()


def main(device: Device, packages: list[Path], tensor_device: str, where: str) -> None:
    """`device` is MAX's, `tensor_device` is PyTorch's: "cuda" or "cpu"; `where` says in words where all this runs."""
    print("Puzzle 20: From MAX Graph to PyTorch Custom Ops")
    print("=" * 60)
    input_array = np.arange(15, dtype=np.float32)
    kernel = np.arange(4, dtype=np.float32)
    expected = expected_result(input_array, kernel)
    with np.printoptions(linewidth=120):  # each array in one line
        print(f"Input array: {input_array}   Convolution kernel: {kernel}   NumPy reference result: {expected}")

        print(f"Testing PyTorch Custom Op (device: {where})")
        input_tensor = torch.from_numpy(input_array).to(tensor_device)
        kernel_tensor = torch.from_numpy(kernel).to(tensor_device)
        result = conv1d_pytorch(open_library(packages), input_tensor, kernel_tensor).cpu().numpy()
        print(f"PyTorch custom op result: {result}")
        np.testing.assert_allclose(result, expected, rtol=1e-5)
        print("✅ PyTorch custom op verification PASSED")

        print("Comparing with MAX Graph approach")
        max_graph_result = conv1d_max_graph(device, packages, input_array, kernel)
        print(f"MAX Graph result: {max_graph_result}")
        np.testing.assert_allclose(max_graph_result, expected, rtol=1e-5)
        print("✅ MAX Graph verification PASSED")
    np.testing.assert_allclose(result, max_graph_result, rtol=1e-5)
    print("✅ PyTorch and MAX Graph results MATCH")


if __name__ == "__main__":
    raise SystemExit("Run it with `workbook run p20`: that compiles op.mojo, chooses the device and calls main().")
