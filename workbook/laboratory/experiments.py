"""Small experiments with custom ops, on the files of experiments/. They run in a worker, so that a crash costs nothing;
all that they need of MAX is here."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from softgpu import Observer
from workbook import rooms
from workbook.laboratory.mistakes import MISTAKES, OP, PYTHON, changed_text
from workbook.running.execution import Clock, Progress, full_text
from workbook.running.executor import Executor
from workbook.running.mojo_compiler import Diagnostic, MojoCompileError, precompile

if TYPE_CHECKING:
    from max.driver import Buffer
    from max.engine import Model

    from softgpu.machine import Launch


STAGES = {"package": ("start", "precompile"), "stale_package": ("start", "precompile")}
"""The stages of an experiment, by its name, where they are not the usual ones. It may end before the last."""
USUAL_STAGES = ("start", "precompile", "build", "compile", "run")

SIZE = 10
LEFT = np.arange(10, 10 + SIZE, dtype=np.float32)
RIGHT = np.arange(SIZE, dtype=np.float32) ** 2
SIGNS = np.array([3, -1, 4, -1, 5, -9, 2, -6, 5, -3], np.float32)
MATRIX = np.arange(1, 7, dtype=np.float32).reshape(2, 3)


@dataclass(frozen=True)
class Attempt:
    """What came of an op with a mistake in it. `stage` is where a tool complained: "precompile", "build", "compile" or
    "run"; empty if none did. `text` is what it said; `reason` softgpu's own words, where it was softgpu."""

    stage: str = ""
    text: str = ""
    reason: str = ""
    diagnostics: tuple[Diagnostic, ...] = ()
    output: np.ndarray | None = None


@dataclass(frozen=True)
class Package:
    """What `mojo precompile` made, and what MAX found in it: of each op the names of its tensors, outputs first, how
    many of them are outputs, and MAX's own declaration of it."""

    nbytes: int
    first_bytes: bytes
    seconds: float
    ops: dict[str, tuple[list[str], int, str]]
    ops_of_max: int
    """How many ops MAX has without it."""


@dataclass(frozen=True)
class Launched:
    """A launch; the address of its output, which is the kernel's first argument; and what it found in memory: for the
    address of each allocation its size, and how many of its bytes anything had written. `written` says it of each byte
    from the output's address on (uint8, 0 or 1), since one allocation may hold several buffers."""

    kernel: str
    grid: int
    block: int
    output: int
    buffers: dict[int, tuple[int, int]]
    written: np.ndarray


@dataclass(frozen=True)
class Place:
    """A buffer on the device."""

    address: int
    nbytes: int


@dataclass(frozen=True)
class Run:
    """The op of one source on the CPU and on the GPU, and where the GPU's inputs lay."""

    on_cpu: np.ndarray
    on_gpu: np.ndarray
    seconds: dict[str, float]
    launch: Launched
    places: dict[str, Place]


@dataclass(frozen=True)
class Silent:
    """What ops give that no tool complains of, by the names of what was done; and the launches of those that launch."""

    outputs: dict[str, np.ndarray]
    launches: dict[str, Launched]


class Launches(Observer):
    """Writes down what each launch finds in memory."""

    follows_writes = True

    def __init__(self) -> None:
        self.found: list[Launched] = []

    def launch_begin(self, launch: Launch) -> None:
        buffers = {
            one.base: (one.nbytes, one.nbytes if one.written is None else int(one.written.sum()))
            for one in launch.memory.allocations
        }
        output = int(launch.parameters[:8].view(np.uint64)[0])
        allocation = launch.memory.find(output)
        written = np.ones(0, np.uint8)
        if allocation is not None:
            mask = allocation.written if allocation.written is not None else np.ones(allocation.nbytes, np.uint8)
            written = mask[output - allocation.base :].copy()
        self.found.append(Launched(launch.kernel, launch.grid[0], launch.block[0], output, buffers, written))


class Experimenter:
    """The worker's side: answers what the notebook's cells ask, on the software GPU."""

    def __init__(self, kind: str):
        from max.driver import CPU

        self.executor = Executor(kind)
        self.cpu, self.gpu = CPU(), self.executor.device
        self.launches = Launches()
        assert self.executor.launcher is not None
        self.launcher = self.executor.launcher
        self.launcher.observers[:] = [self.launches]
        self._both: tuple[Model, dict[str, float]] | None = None
        self._silent: tuple[Model, list[str]] | None = None

    def run(self, question: str, arguments: tuple[Any, ...], progress: Progress) -> Any:
        """What the method of that name answers."""
        self.launches.found.clear()
        self.launcher.errors.clear()
        return getattr(self, question)(*arguments, progress)

    def package(self, progress: Progress) -> Package:
        """The package of all experiments."""
        from max.graph.graph import KernelLibrary

        progress("precompile")
        clock = Clock()
        file = precompile_experiments()
        clock.lap("precompile")
        library = KernelLibrary()
        own_of_max = set(library)
        library.load_paths([file])
        ops = {}
        for name in sorted(set(library) - own_of_max):
            info = library._analysis.kernel_torch_info(name)  # the only account of the names that MAX gives
            ops[name] = (list(info.tensor_arg_names), info.num_dps_outputs, str(library[name]))
        content = file.read_bytes()
        return Package(len(content), content[:4], clock.seconds["precompile"], ops, len(own_of_max))

    def both_devices(self, progress: Progress) -> Run:
        """One graph with the op on the CPU and on the GPU; its second run, in which nothing is new any more."""
        from max.driver import Buffer

        model, seconds = self._model_of_both(progress)
        progress("run")
        self.launches.found.clear()
        inputs = [Buffer.from_numpy(array).to(device) for device in (self.cpu, self.gpu) for array in (LEFT, RIGHT)]
        clock = Clock()
        on_cpu, on_gpu = model.execute(*inputs)
        clock.lap("run")
        places = {"left": _place(inputs[2]), "right": _place(inputs[3])}
        return Run(
            on_cpu.to_numpy(),
            on_gpu.to(self.cpu).to_numpy(),
            seconds | clock.seconds,
            self.launches.found[0],
            places,
        )

    def silent(self, progress: Progress) -> Silent:
        """Ops that look at their buffers wrongly, or leave them as they are. No tool complains of any."""
        from max.driver import Buffer

        model, names = self._silent_model(progress)
        progress("run")
        self.launches.found.clear()
        signs = Buffer.from_numpy(SIGNS).to(self.gpu)
        results = dict(zip(names, model.execute(signs, Buffer.from_numpy(MATRIX)), strict=True))
        launches = {launch.output: launch for launch in self.launches.found}  # MAX chooses their order
        return Silent(
            {name: result.to(self.cpu).to_numpy() for name, result in results.items()},
            {name: launches[result._data_ptr()] for name, result in results.items() if not result.device.is_host},
        )

    def mistake(self, name: str, progress: Progress) -> Attempt:
        """Make a mistake, and see how far one gets with it."""
        mistake = MISTAKES[name]
        progress("precompile")
        try:
            package = precompile_op(changed_text(mistake, OP))
        except MojoCompileError as error:
            return Attempt("precompile", diagnostics=tuple(error.diagnostics))
        python = python_side(changed_text(mistake, PYTHON))
        devices = [{"cpu": self.cpu, "gpu": self.gpu}[kind] for kind in mistake.devices]
        stage, printed = "build", StringIO()
        try:
            progress(stage)
            graph = python.build_graph(SIZE, devices, package)
            stage = "compile"
            progress(stage)
            with _stderr_to(printed):
                model = python.compile_graph(graph, devices)
            stage = "run"
            progress(stage)
            output = python.run(model, LEFT, RIGHT, devices)[-1]
        except Exception as error:
            return Attempt(stage, printed.getvalue() + full_text(error), self.executor.launch_error())
        return Attempt(output=output)

    def stale_package(self, progress: Progress) -> tuple[str, str]:
        """What MAX says of an op whose parameter has been given a new name: in a package that took the place of one it
        knew, and in a new place."""
        progress("precompile")
        before = precompile_op(source(OP))
        after = precompile_op(source(OP).replace("size", "length"))
        python = python_side(source(PYTHON).replace('"size"', '"length"'))

        def build(package: Path) -> str:
            try:
                python.build_graph(SIZE, [self.gpu], package)
            except Exception as error:
                return full_text(error)
            return ""

        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / before.name
            place.write_bytes(before.read_bytes())
            python_side(source(PYTHON)).build_graph(SIZE, [self.gpu], place)  # MAX gets to know it
            place.write_bytes(after.read_bytes())
            return build(place), build(after)

    def _model_of_both(self, progress: Progress) -> tuple[Model, dict[str, float]]:
        """The graph of the op on both devices, and the seconds of each stage of making it."""
        if self._both is None:
            clock = Clock()
            progress("precompile")
            package = precompile_op(source(OP))
            clock.lap("precompile")
            progress("build")
            python, devices = python_side(source(PYTHON)), [self.cpu, self.gpu]
            graph = python.build_graph(SIZE, devices, package)
            clock.lap("build")
            progress("compile")
            model = python.compile_graph(graph, devices)
            clock.lap("compile")
            progress("run")
            python.run(model, LEFT, RIGHT, devices)
            clock.lap("first run")
            self._both = model, clock.seconds
        return self._both

    def _silent_model(self, progress: Progress) -> tuple[Model, list[str]]:
        """One graph of all that no tool complains of, and the names of its outputs."""
        if self._silent is None:
            from max.dtype import DType
            from max.engine import InferenceSession
            from max.graph import DeviceRef, Graph, TensorType, TensorValue, ops

            def keep_positive(signs: TensorValue, zero_first: bool) -> TensorValue:
                parameters = {"size": SIZE, "dtype": signs.dtype, "zero_first": zero_first}
                return ops.custom("keep_positive", signs.device, [signs], [signs.type], parameters)[0].tensor

            def look_through(
                matrix: TensorValue,
                rows: int = 2,
                columns: int = 3,
                order: str = "row_major",
                dtype: DType = DType.float32,
            ) -> TensorValue:
                parameters = {"rows": rows, "columns": columns, "order": order, "dtype": dtype}
                out_type = TensorType(dtype, [rows, columns], matrix.device)
                return ops.custom("look_through", matrix.device, [matrix], [out_type], parameters)[0].tensor

            progress("precompile")
            package = precompile_experiments()
            progress("build")
            input_types = [
                TensorType(DType.float32, SIGNS.shape, DeviceRef.from_device(self.gpu)),
                TensorType(DType.float32, MATRIX.shape, DeviceRef.CPU()),
            ]
            with Graph("silent", input_types=input_types, custom_extensions=[package]) as graph:
                signs, matrix = (value.tensor for value in graph.inputs)
                outputs = {
                    "zero_first": keep_positive(signs, True),
                    "never_zeroed": keep_positive(signs, False),
                    "right": look_through(matrix),
                    "swapped_sizes": look_through(matrix, rows=3, columns=2),
                    "other_order": look_through(matrix, order="col_major"),
                    "other_dtype": look_through(matrix, dtype=DType.int32),
                }
                graph.output(*outputs.values())
            progress("compile")
            self._silent = InferenceSession(devices=[self.cpu, self.gpu]).load(graph), list(outputs)
        return self._silent


def source(file: str) -> str:
    """The text of a file of experiments/."""
    return (rooms.EXPERIMENTS / file).read_text()


def precompile_experiments() -> Path:
    """The package of all experiments."""
    sources = {file.name: file.read_text() for file in sorted(rooms.EXPERIMENTS.glob("*.mojo"))}
    return precompile("experiments", {"__init__.mojo": "", **sources})


def precompile_op(text: str) -> Path:
    """The package of subtract.mojo with this text."""
    return precompile("experiments", {"__init__.mojo": "", OP: text})


def python_side(text: str) -> Any:
    """subtract.py with this text, as a module."""
    module: dict[str, Any] = {}
    exec(compile(text, PYTHON, "exec"), module)
    return SimpleNamespace(**module)


@contextmanager
def _stderr_to(text: StringIO) -> Iterator[None]:
    """MAX prints some of what it knows of a failure, and raises the rest."""
    with tempfile.TemporaryFile("w+", errors="replace") as file:
        before = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)
            file.seek(0)
            text.write(file.read())


def _place(buffer: Buffer) -> Place:
    return Place(buffer._data_ptr(), buffer.num_elements * buffer.element_size)
