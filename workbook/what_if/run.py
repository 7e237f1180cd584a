"""Runs the launch that was chosen in the explorer: a puzzle's solution, with the numbers of the choice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from workbook.check import judge
from workbook.lint.mojo_source import find_calls, tokenize
from workbook.puzzles import Puzzle
from workbook.running.worker import Worker
from workbook.verdict import CaseResult, Verdict
from workbook.what_if.plan import Choice

SEED = 17
"""Of the random inputs: any will do, and with the same ones MAX finds nothing new to do the second time."""


@dataclass(frozen=True)
class RunOfChoice:
    """What came of running a choice. `verdict` says why, where there is no case."""

    verdict: Verdict

    @property
    def case(self) -> CaseResult | None:
        return self.verdict.cases[0] if self.verdict.cases else None

    @property
    def compiled(self) -> bool:
        return self.verdict.stage != "compiler"


def run_choice(puzzle: Puzzle, choice: Choice, worker: Worker, progress: Callable[[str], None]) -> RunOfChoice:
    """Launch the puzzle's solution as chosen. The learner's file is neither read nor written. Raises WorkerLost."""
    text = launch_text(puzzle, choice)
    cases = (choice.case,)
    execution = worker.run(puzzle.id, text, SEED, progress, cases)
    return RunOfChoice(judge(replace(puzzle, cases=cases), text, execution))


def launch_text(puzzle: Puzzle, choice: Choice) -> str:
    """The solution, launched with the chosen numbers of blocks and threads; as it is where `foreach` chooses them."""
    text = puzzle.solution_file.read_text()
    chosen = {"grid_dim": choice.blocks, "block_dim": choice.threads}
    found = [
        (call.keywords[name].value, number)
        for call in find_calls(tokenize(text), "enqueue_function")
        for name, number in chosen.items()
    ]
    for value, number in sorted(found, key=lambda one: one[0][0].start, reverse=True):
        text = text[: value[0].start] + str(number) + text[value[-1].end :]
    return text
