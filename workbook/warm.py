"""Runs the solutions ahead, so that the first attempt in a classroom finds everything built."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from softgpu import SoftGPUError
from workbook.check import check_at_once, check_op
from workbook.puzzles import Puzzle
from workbook.running import answers
from workbook.running.devices import default_device, devices_for_check
from workbook.running.worker import Worker, WorkerLost


@dataclass(frozen=True)
class Warmed:
    """What became of a puzzle's solution."""

    puzzle: str
    seconds: float
    was_known: bool = False
    """Whether its answer was there already."""
    problem: str = ""
    """Why there is no answer now: one or more sentences."""


def warm(
    puzzles: Iterable[Puzzle], on_progress: Callable[[Puzzle, str], None], kind: str | None = None
) -> list[Warmed]:
    """Run the solutions that have not been run on the devices of a check, and keep what comes of them.

    `on_progress` hears of each stage, when it begins and while it lasts. `kind` is "gpu" or "softgpu"; by default, a
    GPU if one answers.
    """
    kind = kind or default_device()
    workers: dict[str, Worker] = {}
    done = []
    try:
        for puzzle in puzzles:
            begun = time.monotonic()
            text = puzzle.solution_file.read_text()
            devices = devices_for_check(kind, puzzle.also_on_cpu)
            known, problem = answers.find(puzzle, text, devices) is not None, ""
            if not known:
                workers |= {device: Worker(device) for device in devices if device not in workers}
                problem = _run(puzzle, text, [workers[device] for device in devices], on_progress)
            done.append(Warmed(puzzle.id, time.monotonic() - begun, known, problem))
    finally:
        for worker in workers.values():
            worker.close()
    return done


def _run(puzzle: Puzzle, text: str, workers: list[Worker], on_progress: Callable[[Puzzle, str], None]) -> str:
    """Run a solution; what is wrong with that, if anything is."""
    try:
        verdict = check_at_once(puzzle, text) or check_op(
            puzzle, text, workers, lambda stage: on_progress(puzzle, stage)
        )
    except (WorkerLost, SoftGPUError) as error:
        return str(error)
    return "" if verdict.passed else str(verdict)
