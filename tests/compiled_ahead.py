"""Attempts that are compiled together: MAX takes hardly longer for many graphs in one module than for a single one."""

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from max.engine import Model
from max.graph import Graph, Module, ops

from workbook.puzzles import Arrays, Puzzle, PythonSide, find_puzzle, python_side
from workbook.running.executor import Executor
from workbook.running.mojo_compiler import precompile, precompile_kernels

REGISTERED = re.compile(r'(@extensibility\.register\("\w+)"')


class ExecutorAhead(Executor):
    """An executor that can be handed several texts of an op.mojo at once. Those are compiled as one module; all else is
    done with each of them as with any attempt."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.models: dict[str, Model] = {}

    def run(self, puzzle_id: str, text: str | Sequence[str], *request: Any) -> Any:
        if isinstance(text, str):
            return super().run(puzzle_id, text, *request)
        return self.compile_ahead(find_puzzle(puzzle_id), text)

    def compile_ahead(self, puzzle: Puzzle, texts: Sequence[str]) -> None:
        """Every text is a file of one package, with a name of its own for its op; and a graph of one module."""
        kernels = precompile_kernels()
        files = {f"op_{number}.mojo": REGISTERED.sub(rf'\1_{number}"', text) for number, text in enumerate(texts)}
        packages = [kernels, precompile(f"{puzzle.id}_ahead", {"__init__.mojo": "", **files}, kernels.parent)]
        module = Module()
        random = np.random.default_rng(0)
        for number in range(len(texts)):
            python: Any = python_side(puzzle)
            python.Graph = partial(graph_of_module, module, number)
            python.ops = OpsOfModule(number)
            cases = [python.make_case(random, **sizes) for sizes in puzzle.cases]
            python.build_graph(cases, self.device, packages)
        models = self.session.load_all(module, custom_extensions=packages)
        self.models |= dict(zip(texts, models.values(), strict=True))

    def compile(self, puzzle: Puzzle, python: PythonSide, cases: Sequence[Arrays], op_text: str, *rest: Any) -> Model:
        return self.models.get(op_text) or super().compile(puzzle, python, cases, op_text, *rest)


class OpsOfModule:
    """`max.graph.ops`, for an op that has a number behind its name."""

    def __init__(self, number: int) -> None:
        self.number = number

    def custom(self, name: str, **arguments: Any) -> Any:
        return ops.custom(name=f"{name}_{self.number}", **arguments)


def graph_of_module(module: Module, number: int, name: str, **arguments: Any) -> Graph:
    """`max.graph.Graph`, for a graph of a module."""
    return Graph(f"{name}_{number}", module=module, **arguments)
