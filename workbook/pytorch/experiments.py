"""What the notebook of puzzle 20 tries out beside the check. It runs in a worker of its own, where nothing is examined
beforehand and a crash costs nothing."""

import statistics
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib import util
from typing import Any

import numpy as np

from workbook.laboratory.experiments import Launched, Launches
from workbook.puzzles import find_puzzle, python_side
from workbook.running.execution import Progress, full_text
from workbook.running.executor import Executor

LATER_CALLS = 20
EPSILON = 1e-2
"""Step of the finite differences in `gradcheck`. The op is linear in either input, so that a large step is as right as
a small one, and loses less to the rounding of float32."""


@dataclass(frozen=True)
class Outcome:
    """What came of a call that nothing had examined. `said` is what PyTorch, MAX or softgpu said of it, `result` what
    was given back, where it is a tensor with memory, and `gave` says in a word what it is otherwise."""

    said: str
    raw: str
    gave: str
    result: np.ndarray | None
    expected: np.ndarray
    launches: int | None
    first: float
    later: float | None


@dataclass(frozen=True)
class Gradients:
    """The gradients of the inputs by their names, with the op and with PyTorch's own convolution; and what
    `torch.autograd.gradcheck` says of the op: empty if it agrees."""

    with_op: dict[str, np.ndarray]
    with_pytorch: dict[str, np.ndarray]
    compiled: dict[str, np.ndarray]
    gradcheck: str
    launches: int | None


@dataclass(frozen=True)
class Integration:
    """How the op ran in one of the two ways. `output` is the address of the output's memory and on which device it is;
    `parameters` is what MAX was handed; `launch` is None where nothing records it."""

    output: tuple[int, str]
    parameters: dict[str, str]
    tensors: str
    op_on: str
    launch: Launched | None
    result: np.ndarray
    gave: str
    first: float
    later: float


class Demonstrator:
    """The worker's side: answers what the notebook's cells ask."""

    def __init__(self, kind: str):
        from workbook.pytorch.bridge import open_bridge

        self.executor = Executor(kind)
        self.launches = Launches()
        if self.executor.launcher is not None:
            self.executor.launcher.observers[:] = [self.launches]
        self.puzzle = find_puzzle("p20")
        self.sizes = self.puzzle.cases[0]
        self.bridge = open_bridge(kind)

    def run(self, question: str, arguments: tuple[Any, ...], progress: Progress) -> Any:
        """What the method of that name answers."""
        return getattr(self, question)(*arguments, progress)

    def what_if(self, text: str, progress: Progress) -> Outcome:
        """Call the function of a program with this text on the first case, whatever it does."""
        import torch

        module, library, tensors, expected = self._opened(text, progress)
        progress("call")
        said = raw = gave = ""
        result, later = None, None
        start = time.perf_counter()
        try:
            found = module.conv1d_pytorch(library, *tensors)
            first = time.perf_counter() - start
            gave = _described(found)
            if isinstance(found, torch.Tensor) and found.device.type != "meta":
                result = found.detach().cpu().numpy()
            later = _median_time(lambda: module.conv1d_pytorch(library, *tensors))
        except Exception as error:
            first = time.perf_counter() - start
            said = self.executor.launch_error() or full_text(error)
            raw = traceback.format_exc()
        return Outcome(said, raw, gave, result, expected, self._launched(LATER_CALLS + 1), first, later)

    def gradients(self, text: str, progress: Progress) -> Gradients:
        """The gradients of a weighted sum of the output, with autograd.py, and without the op."""
        import torch

        _module, library, tensors, _expected = self._opened(text, progress)
        progress("call")
        autograd = self._autograd()
        op = autograd.differentiable(library)
        weights = torch.linspace(-1, 1, len(tensors[0]), device=tensors[0].device)

        def gradients(function: Callable) -> dict[str, np.ndarray]:
            inputs = [tensor.clone().requires_grad_() for tensor in tensors]
            (function(*inputs) * weights).sum().backward()
            return {
                name: one.grad.cpu().numpy()
                for name, one in zip(self.puzzle.arguments[1:], inputs, strict=True)
                if one.grad is not None
            }

        with_op = gradients(op)
        launches = self._launched(1)
        inputs = [tensor.clone().requires_grad_() for tensor in tensors]
        said = ""
        try:
            torch.autograd.gradcheck(op, inputs, eps=EPSILON, atol=1e-3, rtol=1e-3)
        except RuntimeError as error:
            said = str(error)
        compiled = gradients(torch.compile(op, backend="aot_eager"))
        return Gradients(with_op, gradients(autograd.reference), compiled, said, launches)

    def comparison(self, text: str, progress: Progress) -> tuple[Integration, Integration]:
        """The op from PyTorch and in a MAX Graph, on the same data."""
        module, library, tensors, _expected = self._opened(text, progress)
        progress("call")
        from_pytorch = self._from_pytorch(module, library, tensors)
        progress("graph")
        return from_pytorch, self._in_a_graph([tensor.cpu().numpy() for tensor in tensors])

    def _opened(self, text: str, progress: Progress) -> tuple[Any, Any, tuple[Any, ...], np.ndarray]:
        """A program, its library, the tensors of the first case, and what the op must give."""
        import torch

        from workbook.pytorch.bridge import load_program, packages

        progress("open")
        module = load_program(self.puzzle, text)
        library = self.bridge.library(module, text, packages())
        python = python_side(find_puzzle("p17"))
        case = python.make_case(np.random.default_rng(20), **self.sizes)
        tensors = tuple(torch.tensor(array, device=self.bridge.tensor_device) for array in case)
        self.launches.found.clear()
        return module, library, tensors, python.expected_result(*case)

    def _launched(self, calls: int) -> int | None:
        """Launches of a call, on average of so many; None where nothing records them."""
        return -(-len(self.launches.found) // calls) if self.executor.launcher is not None else None

    def _autograd(self) -> Any:
        specification = util.spec_from_file_location("autograd", self.puzzle.problem_file.with_name("autograd.py"))
        assert specification is not None and specification.loader is not None
        module = util.module_from_spec(specification)
        specification.loader.exec_module(module)
        return module

    def _from_pytorch(self, module: Any, library: Any, tensors: tuple[Any, ...]) -> Integration:
        with _followed_ops() as used, self.bridge.following() as calls:
            start = time.perf_counter()
            result = module.conv1d_pytorch(library, *tensors)
            first = time.perf_counter() - start
        output = calls[0].tensors["output"]
        launch = self.launches.found[-1] if self.launches.found else None
        return Integration(
            output=(output.data_ptr(), str(output.device)),
            parameters=used[0][0],
            tensors=str(output.device),
            op_on=used[0][1],
            launch=launch,
            result=result.cpu().numpy(),
            gave="None",
            first=first,
            later=_median_time(lambda: module.conv1d_pytorch(library, *tensors)),
        )

    def _in_a_graph(self, case: list[np.ndarray]) -> Integration:
        from max.driver import CPU, Buffer

        from workbook.pytorch.bridge import packages

        device = self.executor.device
        python = python_side(find_puzzle("p17"))
        start = time.perf_counter()
        with _followed_ops() as used:
            graph = python.build_graph([(case[0], case[1])], device, packages())
        model = self.executor.session.load(graph)
        inputs = [Buffer.from_numpy(array).to(device) for array in case]
        (result,) = model.execute(*inputs)
        first = time.perf_counter() - start
        launch = self.launches.found[-1] if self.launches.found else None
        return Integration(
            output=(result._data_ptr(), _device_name(result.device)),
            parameters=used[0][0],
            tensors=_device_name(inputs[0].device),
            op_on=used[0][1],
            launch=launch,
            result=result.to(CPU()).to_numpy(),
            gave="[Buffer]",
            first=first,
            later=_median_time(lambda: model.execute(*inputs)),
        )


class _followed_ops:
    """Writes down the parameters and the device of every custom op that is put into a graph meanwhile."""

    def __enter__(self) -> list[tuple[dict[str, str], str]]:
        from max.graph import ops

        self._custom, used = ops.custom, []

        def custom(name: str, device: Any, values: Any, out_types: Any, parameters: Any = None, **others: Any) -> Any:
            used.append(({key: str(value) for key, value in (parameters or {}).items()}, str(device)))
            return self._custom(name, device, values, out_types, parameters, **others)

        ops.custom = custom
        return used

    def __exit__(self, *_error: object) -> None:
        from max.graph import ops

        ops.custom = self._custom


def _median_time(call: Callable[[], Any]) -> float:
    """Seconds of a call that is not the first one."""
    times = []
    for _call in range(LATER_CALLS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _device_name(device: Any) -> str:
    """A device of MAX as graphs name it."""
    return f"{device.label}:{device.id}"


def _described(found: Any) -> str:
    shape, dtype, device = (getattr(found, name, None) for name in ("shape", "dtype", "device"))
    return str(found) if shape is None else f"{type(found).__name__} {tuple(shape)}, {dtype}, {device}"
