"""puzzles.toml must agree with the files that it speaks of."""

import pytest

from workbook import rooms
from workbook.lint.mojo_source import read_function
from workbook.puzzles import UnknownPuzzle, all_puzzles, find_puzzle
from workbook.region import read_region


@pytest.fixture(params=list(all_puzzles()))
def puzzle(request):
    return find_puzzle(request.param)


def test_an_unknown_puzzle_is_answered_with_those_there_are():
    with pytest.raises(UnknownPuzzle, match=r"p99.*p17"):
        find_puzzle("p99")


def test_every_file_of_a_puzzle_is_there(puzzle):
    for file in (puzzle.problem_file, puzzle.solution_file, puzzle.python_file, puzzle.kernel_file):
        assert file is None or file.is_file(), file
    assert (rooms.NOTEBOOKS / puzzle.notebook).is_file()


@pytest.mark.parametrize("room", ["wrong", "right"])
def test_the_launches_listed_are_those_in_the_folder(puzzle, room):
    listed = [launch.file for launch in getattr(puzzle, room)]
    assert sorted(listed) == sorted(file.name for file in (rooms.SOLUTIONS / puzzle.id / room).iterdir())


def test_each_wrong_launch_is_told_something(puzzle):
    for mistake in puzzle.wrong:
        assert mistake.caught_by in ("lint", "compiler", "driver", "check"), mistake
        assert mistake.must_say, mistake


def test_the_problem_is_handed_out_empty(puzzle):
    assert read_region(puzzle.problem_file.read_text()).code == puzzle.placeholder


def test_the_block_size_and_the_arguments_are_the_kernels(puzzle):
    if puzzle.kernel_file is None:
        assert puzzle.threads_per_block is None
        return
    source = puzzle.kernel_file.read_text()
    assert f"comptime TPB = {puzzle.threads_per_block} " in source
    function = read_function(source, f"{puzzle.kernel_module}_kernel")
    tensors = [argument.name for argument in function.arguments if argument.type_text.startswith("TileTensor")]
    assert tuple(tensors) == puzzle.arguments


def test_the_shared_arrays_are_the_kernels(puzzle):
    if puzzle.kernel_file is None:
        assert not puzzle.shared
        return
    source = puzzle.kernel_file.read_text()
    for name, size in puzzle.shared.items():
        declaration = next(line for line in source.splitlines() if f"var {name} = stack_allocation" in line)
        assert f"row_major[{size}]()" in declaration
