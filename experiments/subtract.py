"""The Python side of subtract.mojo."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from max.driver import CPU, Buffer, Device
from max.dtype import DType
from max.engine import InferenceSession, Model
from max.graph import DeviceRef, Graph, TensorType, TensorValue, ops


def subtract(left: TensorValue, right: TensorValue) -> TensorValue:
    """One node of the graph."""
    return ops.custom(
        name="subtract",
        device=left.device,
        values=[left, right],
        out_types=[TensorType(left.dtype, left.shape, left.device)],
        parameters={"size": int(left.shape[0]), "dtype": left.dtype},
    )[0].tensor


def build_graph(size: int, devices: Sequence[Device], package: Path) -> Graph:
    """A graph with that node once for every device. Its inputs are a left and a right vector for each."""
    vectors = [TensorType(DType.float32, [size], DeviceRef.from_device(device)) for device in devices for _ in range(2)]
    with Graph("subtract_graph", input_types=vectors, custom_extensions=[package]) as graph:
        values = [value.tensor for value in graph.inputs]
        graph.output(*(subtract(left, right) for left, right in zip(values[0::2], values[1::2], strict=True)))
    return graph


def compile_graph(graph: Graph, devices: Sequence[Device]) -> Model:
    """The graph, its op and the op's kernel, compiled for the devices."""
    return InferenceSession(devices=list(devices)).load(graph)


def run(model: Model, left: np.ndarray, right: np.ndarray, devices: Sequence[Device]) -> list[np.ndarray]:
    """The arrays go to each device, the results come back from it."""
    inputs = [Buffer.from_numpy(array).to(device) for device in devices for array in (left, right)]
    return [result.to(CPU()).to_numpy() for result in model.execute(*inputs)]
