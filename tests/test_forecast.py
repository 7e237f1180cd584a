"""What is foreseen of a launch while MAX still compiles it. That a launch of which something is foreseen does fail, and
in that very case, is part of tests/test_launches.py."""

import pytest

from workbook.check import check_at_once
from workbook.puzzles import all_puzzles, find_puzzle
from workbook.region import read_region, replace_region
from workbook.what_if.forecast import forecast

LAUNCHED = [puzzle for puzzle in all_puzzles().values() if puzzle.fills == "launch"]


def foreseen(id: str, old: str, new: str) -> str:
    """The forecast of the solution with something changed in its launch."""
    puzzle = find_puzzle(id)
    text = puzzle.solution_file.read_text()
    code = read_region(text).code
    assert old in code
    changed = replace_region(text, code.replace(old, new))
    assert check_at_once(puzzle, changed) is None, "the lint answers before anything is foreseen"
    return forecast(puzzle, changed)


@pytest.mark.parametrize(
    ("id", "old", "new", "says"),
    [
        ("t2", "ceildiv(size, TPB)", "(size + 14) // TPB", "17 outputs, but 1 × 16 is only 16: 1 output is never"),
        ("t2", "block_dim=TPB", "block_dim=size * 11", "`block_dim` will be 1100, and a block has at most 1024"),
        ("t2", "ceildiv(size, TPB)", "(size - 1,)", "`grid_dim` will be 0"),
        ("t2", "ceildiv(size, TPB)", "(1, 1)", "(That is with size 17.)"),
        ("p17", "grid_dim=BLOCKS_PER_GRID", "grid_dim=conv_size // 2", "(That is with input_size 17, conv_size 1.)"),
        ("p17", "block_dim=TPB", "block_dim=TPB // 3 * 2", "No thread writes tile[10–12] in block 0"),
        ("p17", "block_dim=TPB", "block_dim=TPB * conv_size", "will write tile[22], which lies outside"),
    ],
)
def test_a_wrong_size_is_foreseen(id, old, new, says):
    assert says in foreseen(id, old, new)


@pytest.mark.parametrize(
    ("id", "old", "new"),
    [
        ("t2", "Int32(size)", "Int32(size - 1)"),  # wrong, but not in its size
        ("t2", "Int32(size),\n    grid_dim=ceildiv(size, TPB)", "Int32(1),\n    grid_dim=1"),  # wrong in both
        ("t2", "block_dim=TPB", "block_dim=output.size()"),  # cannot be read off
        ("t2", "ceildiv(size, TPB)", "10_000_000"),  # too large to be looked at in no time
        ("p17", "block_dim=TPB", "block_dim=(5, 3)"),  # rows of threads: not what a plan is about
        ("p17", "input_size,", "input_size + 1,"),
    ],
)
def test_of_what_a_plan_cannot_tell_nothing_is_said(id, old, new):
    assert foreseen(id, old, new) == ""


@pytest.mark.parametrize("puzzle", LAUNCHED, ids=lambda puzzle: puzzle.id)
def test_nothing_is_foreseen_of_launches_that_are_right(puzzle):
    solution = puzzle.solution_file.read_text()
    right = [
        replace_region(solution, (puzzle.solution_file.parent / "right" / one.file).read_text()) for one in puzzle.right
    ]
    assert [forecast(puzzle, text) for text in (solution, *right)] == [""] * (1 + len(right))
