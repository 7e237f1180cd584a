"""The size of a launch in each case of a check, as far as the text tells it."""

from collections.abc import Iterator

from workbook.lint.launch import Launch, Region
from workbook.lint.mojo_source import Definition, constant, tokenize
from workbook.puzzles import Puzzle
from workbook.region import read_region

HOLDS_NO_LAUNCH = ("comptime", "from", "import")
"""Statements beside a launch that cannot change what it does, but for the names that they define."""


def only_launch(puzzle: Puzzle, op_text: str) -> tuple[Region, Launch | None]:
    """The launch of an attempt that consists of one, which is always reached; None for any other."""
    assert puzzle.kernel_file is not None
    modules = {f"kernels.{puzzle.kernel_module}": puzzle.kernel_file.read_text()}
    attempt = Region(read_region(op_text).code, op_text, modules)
    others = [statement for statement in attempt.statements if statement.keyword not in HOLDS_NO_LAUNCH]
    is_alone = len(attempt.launches) == len(others) == 1
    return attempt, attempt.launches[0] if is_alone else None


def size_in(attempt: Region, launch: Launch, keyword: str, case: dict[str, int]) -> int | None:
    """What `grid_dim` or `block_dim` is in a case; None where it cannot be read off, or is more than a number in x."""
    if keyword not in launch.call.keywords:
        return None
    sizes = {
        name: Definition("comptime", tuple(tokenize(str(size))))
        for name, size in case.items()
        if name in attempt.names and attempt.names[name].kind in ("parameter", "argument")
    }
    number = constant(launch.call.keywords[keyword].value, attempt.names | sizes, attempt.modules)
    if isinstance(number, tuple) and number and all(other == 1 for other in number[1:]):
        number = number[0]
    return number if isinstance(number, int) else None


def sizes_below_one(puzzle: Puzzle, op_text: str) -> Iterator[tuple[dict[str, int], str, int]]:
    """The cases in which a launch asks for no block or no thread: the case, the keyword and the number."""
    if puzzle.fills != "launch":
        return
    attempt, launch = only_launch(puzzle, op_text)
    if launch is None:
        return
    for case in puzzle.cases:
        for keyword in ("grid_dim", "block_dim"):
            size = size_in(attempt, launch, keyword, case)
            if size is not None and size < 1:
                yield case, keyword, size
