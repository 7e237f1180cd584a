"""A stand-in for MAX in a worker: the graph of an attempt is built when the test opens the gate, a file. A launch with
`grid_dim=1` gives a wrong result."""

import shutil
import time
from dataclasses import replace

import numpy as np

from workbook import rooms
from workbook.notebook import puzzle as notebook_puzzle
from workbook.puzzles import find_puzzle
from workbook.running.execution import Execution
from workbook.running.worker import Worker


def gate():
    return rooms.ROOT / "gate"


class GatedExecutor:
    def __init__(self, kind):
        self.kind = kind

    def run(self, puzzle_id, text, seed, cases, progress):
        puzzle, random = find_puzzle(puzzle_id), np.random.default_rng(seed)
        cases = tuple(
            tuple(random.uniform(1, 2, next(iter(sizes.values()))) for _ in puzzle.arguments[1:])
            for sizes in cases or puzzle.cases
        )
        expected = tuple(2 * case[0] for case in cases)
        execution = Execution(
            "a device of the tests", cases, expected, outputs=expected, inputs_after=cases, places=({},) * len(cases)
        )
        if "grid_dim=1," in text:
            execution = replace(execution, outputs=tuple(np.where(np.arange(e.size) < 15, e, 0) for e in expected))
        progress("precompile")
        progress("graph")
        with (rooms.ROOT / "asked").open("a") as file:
            file.write(f"{seed}\n")
        while not gate().exists():
            time.sleep(0.02)
        progress("run")
        return execution


class GatedWorker(Worker):
    def __init__(self, device):
        super().__init__(device, executor=GatedExecutor)


def install():
    """Puzzles of notebooks are run by it from now on."""
    notebook_puzzle.Worker = GatedWorker


def copied_to(folder):
    """A folder for PYTHONPATH that has this module alone: tests/softgpu would pass for the package."""
    folder.mkdir()
    shutil.copy(__file__, folder)
    return folder
