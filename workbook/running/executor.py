"""Builds the graph of an attempt and runs it. Runs in the worker; all that an attempt needs of MAX is here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import softgpu
from softgpu import Racecheck, Severity, Trace
from softgpu.machine import Launch
from workbook.puzzles import Arrays, Puzzle, PythonSide, find_puzzle, python_side
from workbook.running.devices import describe_device, open_device
from workbook.running.execution import BufferPlace, Cases, Clock, Execution, Failure, Fault, Outcome, full_text
from workbook.running.mojo_compiler import MojoCompileError, precompile_kernels, precompile_op
from workbook.running.tracebacks import stopped_in

if TYPE_CHECKING:
    from max.driver import Buffer
    from max.engine import Model

    from softgpu.driver import Launcher


class Outcomes(Racecheck):
    """The outcome of each launch, beside a Trace's launches. Stores of equal values are no race, since their order has
    no effect."""

    def __init__(self) -> None:
        super().__init__()
        self.launches: list[Outcome] = []

    def launch_end(self, launch: Launch) -> None:
        super().launch_end(launch)
        races = tuple(race for race in self.launch_reports() if race.severity > Severity.INFO)
        error = launch.failure
        fault = Fault.of(error) if isinstance(error, softgpu.MemoryFault) else None
        self.launches.append(Outcome(races, str(error or ""), fault))


class NotCompiled(Exception):
    """There is no graph to run, and `failure` says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


class Executor:
    """Owns the device of a process, and runs attempts on it."""

    def __init__(self, kind: str):
        self.kind = kind
        self.device = open_device(kind)
        from max.engine import InferenceSession

        self.session = InferenceSession(devices=[self.device])
        self.launcher: Launcher | None = None
        self.trace, self.outcomes = Trace(), Outcomes()
        if kind == "softgpu":
            self.launcher = softgpu.install()
            self.launcher.observers += [self.trace, self.outcomes]
            self.launcher.errors_stick = False  # what one attempt breaks must not fail the next

    def run(
        self, puzzle_id: str, text: str, seed: int, cases: Cases | None, progress: Callable[[str], None]
    ) -> Execution:
        """Run all cases of a puzzle with the text of the learner's file, on random data from `seed`; or, if `cases` are
        given, these in their stead."""
        puzzle = find_puzzle(puzzle_id)
        if cases is not None:
            puzzle = replace(puzzle, cases=cases)
        return RUNS[puzzle.fills](self, puzzle, text, seed, progress)

    def run_graph(self, puzzle: Puzzle, op_text: str, seed: int, progress: Callable[[str], None]) -> Execution:
        """Compile an op.mojo, and run all cases of its puzzle in one graph."""
        execution = Execution(
            device=describe_device(self.kind), cases=(), expected=(), recorded=self.launcher is not None
        )
        try:
            python = python_side(puzzle)
            random = np.random.default_rng(seed)
            cases = tuple(python.make_case(random, **sizes) for sizes in puzzle.cases)
            expected = tuple(python.expected_result(*case) for case in cases)
        except Exception as error:  # whatever the learner made of the Python side
            return replace(execution, failure=python_failure(puzzle, error))
        execution = replace(execution, cases=cases, expected=expected)
        clock = Clock()
        try:
            model = self.compile(puzzle, python, cases, op_text, clock, progress)
        except NotCompiled as error:
            return replace(execution, failure=error.failure, seconds=clock.seconds)

        progress("run")
        inputs = [[self._on_device(array) for array in case] for case in cases]
        if self.launcher is not None:
            self.clear_record()
            self.launcher.errors.clear()
        try:
            results = model.execute(*(buffer for case in inputs for buffer in case))
        except Exception as error:
            results = None
            execution = replace(execution, failure=self.launch_failure() or Failure("launch", full_text(error)))
        clock.lap("run")

        output_name, *input_names = puzzle.arguments
        places = [{name: _place(buffer) for name, buffer in zip(input_names, case, strict=True)} for case in inputs]
        if results is not None:
            for place, result in zip(places, results, strict=True):
                place[output_name] = _place(result)
            execution = replace(
                execution,
                outputs=tuple(self._to_numpy(result) for result in results),
                inputs_after=tuple(tuple(self._to_numpy(buffer) for buffer in case) for case in inputs),
            )
            # A launch may have failed, and the op have swallowed the error.
            execution = replace(execution, failure=self.launch_failure())
        return replace(
            execution,
            places=tuple(places),
            launches=tuple(self.trace.launches),
            outcomes=tuple(self.outcomes.launches),
            seconds=clock.seconds,
        )

    def compile(
        self,
        puzzle: Puzzle,
        python: PythonSide,
        cases: Sequence[Arrays],
        op_text: str,
        clock: Clock,
        progress: Callable[[str], None],
    ) -> Model:
        """The graph that calls an op for every case, ready to run. Raises NotCompiled."""
        progress("precompile")
        packages = precompiled(puzzle, op_text)
        clock.lap("precompile")

        progress("graph")
        try:
            graph = python.build_graph(cases, self.device, packages)
        except Exception as error:
            raise NotCompiled(python_failure(puzzle, error)) from error
        try:
            model = self.session.load(graph)
        except Exception as error:  # MAX raises ValueError and RuntimeError, with Mojo's output as text
            raise NotCompiled(Failure("graph", full_text(error))) from error
        clock.lap("graph")
        return model

    def run_main(self, puzzle_id: str, op_text: str) -> None:
        """What `workbook run` does: compile an op.mojo and call the `main` of the puzzle's Python file. Raises
        NotCompiled, and whatever `main` does."""
        puzzle = find_puzzle(puzzle_id)
        if puzzle.fills == "torch":
            from workbook.pytorch import bridge

            bridge.run_main(self, puzzle, op_text)
            return
        packages = precompiled(puzzle, op_text)
        python_side(puzzle).main(self.device, packages)

    def clear_record(self) -> None:
        """Forget the launches that were recorded."""
        self.trace.launches.clear()
        self.outcomes.launches.clear()

    def launch_error(self) -> str:
        """What softgpu says of a launch that failed: the reason without the layers that MAX wraps around it."""
        return str(self.launcher.errors[0]) if self.launcher is not None and self.launcher.errors else ""

    def launch_failure(self) -> Failure | None:
        """The launch that failed in this attempt, if one did."""
        text = self.launch_error()
        if not text or self.launcher is None:
            return None
        error = self.launcher.errors[0]
        fault = None
        if isinstance(error, softgpu.MemoryFault):
            fault = Fault.of(error)
        return Failure("launch", text, by_softgpu=True, fault=fault)

    def _on_device(self, array: np.ndarray) -> Buffer:
        from max.driver import Buffer

        return Buffer.from_numpy(array).to(self.device)

    def _to_numpy(self, buffer: Buffer) -> np.ndarray:
        from max.driver import CPU

        return buffer.to(CPU()).to_numpy()


def run_torch(executor: Executor, puzzle: Puzzle, text: str, seed: int, progress: Callable[[str], None]) -> Execution:
    """Run all cases with the text of a Python file that calls an op from PyTorch."""
    from workbook.pytorch import bridge  # PyTorch may not be installed

    return bridge.run(executor, puzzle, text, seed, progress)


RUNS = {"launch": Executor.run_graph, "foreach": Executor.run_graph, "torch": run_torch}
"""How an attempt is run, by what the learner filled in."""


def precompiled(puzzle: Puzzle, op_text: str) -> list[Path]:
    """The packages of the kernels and of an op.mojo. Raises NotCompiled."""
    try:
        kernels = precompile_kernels()
        return [kernels, precompile_op(puzzle.id, op_text, kernels)]
    except MojoCompileError as error:
        raise NotCompiled(Failure("precompile", error.raw, tuple(error.diagnostics))) from error
    except OSError as error:
        raise NotCompiled(Failure("system", str(error))) from error


def python_failure(puzzle: Puzzle, error: Exception) -> Failure:
    """What stopped the Python side of a puzzle, or MAX when it was called there."""
    stopped = stopped_in(puzzle.python_file, error)
    return Failure("python", full_text(error), (stopped,) if stopped else ())


def _place(buffer: Buffer) -> BufferPlace:
    return BufferPlace(buffer._data_ptr(), buffer.num_elements * buffer.element_size)
