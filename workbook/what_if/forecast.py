"""What a check will find wrong with an attempt's `grid_dim` and `block_dim`, foreseen from the kernel's plan while MAX
still compiles."""

from __future__ import annotations

from workbook.language import _
from workbook.lint.launch import MAX_THREADS_PER_BLOCK, Launch, Region
from workbook.lint.sizes import only_launch, size_in
from workbook.puzzles import Puzzle
from workbook.what_if.comparison import in_a_sentence, is_right
from workbook.what_if.plan import Choice, predict

MAX_THREADS = 100_000
"""A launch of more is not foreseen: that would take as long as the launch."""


def forecast(puzzle: Puzzle, op_text: str) -> str:
    """What will be wrong in the first case in which something will be, in a sentence or two. Empty where nothing wrong
    is foreseen, and where an attempt differs from the solution in more than the size of its launch: the run will
    tell."""
    if puzzle.fills != "launch" or puzzle.what_if is None:
        return ""
    attempt, launch = only_launch(puzzle, op_text)
    if launch is None or _passed(attempt, launch) != _passed(*only_launch(puzzle, puzzle.solution_file.read_text())):
        return ""
    for case in puzzle.cases:
        numbers = {keyword: size_in(attempt, launch, keyword, case) for keyword in ("grid_dim", "block_dim")}
        found = _foreseen(puzzle, case, numbers)
        if found:
            sizes = ", ".join(f"{name} {size}" for name, size in case.items())
            return _("{problem} (That is with {case}.)").format(case=sizes, problem=found)
    return ""


def forecast_in_words(puzzle: Puzzle, op_text: str) -> str:
    """What a learner is told of a forecast; empty where there is none."""
    found = forecast(puzzle, op_text)
    text = _("To be expected of this `grid_dim` and `block_dim`: {problem} The run will show it.")
    return text.format(problem=found) if found else ""


def _foreseen(puzzle: Puzzle, case: dict[str, int], numbers: dict[str, int | None]) -> str:
    blocks, threads = numbers["grid_dim"], numbers["block_dim"]
    for keyword, number in numbers.items():
        if number is not None and number < 1:
            return _("`{keyword}` will be {number}, and a launch needs at least 1.").format(
                keyword=keyword, number=number
            )
    if threads is not None and threads > MAX_THREADS_PER_BLOCK:
        text = _("`block_dim` will be {number}, and a block has at most {most} threads.")
        return text.format(number=threads, most=MAX_THREADS_PER_BLOCK)
    if blocks is None or threads is None or blocks * threads > MAX_THREADS:
        return ""
    choice = Choice(tuple(case.items()), blocks, threads)
    prediction = predict(puzzle, choice)
    return "" if is_right(prediction) else in_a_sentence(puzzle, choice, prediction)


def _passed(attempt: Region, launch: Launch | None) -> list[str | None] | None:
    """The kernel that is launched, and what it is passed, with names that stand for something else replaced."""
    if launch is None or launch.kernel is None or launch.kernel.given is None:
        return None
    values = [argument.value for argument in (*launch.kernel.given, *launch.call.positional)]
    return [launch.kernel.function.name, *map(attempt.expand, values)]
