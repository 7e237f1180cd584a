import multiprocessing
import time

import pytest

from workbook import attempts, files
from workbook.region import BEGIN, END, RegionError, read_region


def test_an_attempt_goes_into_the_file_and_is_read_back(puzzle):
    attempts.write_attempt(puzzle, "launch(\n    it)\n")
    assert attempts.read_attempt(puzzle) == "launch(\n    it)"
    assert "            launch(\n                it)\n" in puzzle.problem_file.read_text()


def test_every_attempt_is_kept_in_order(puzzle):
    for code in ("one", "two", "two", "three"):
        attempts.write_attempt(puzzle, code)
    kept = [read_region(version.read_text()).code for version in attempts.history(puzzle)]
    assert kept == [puzzle.placeholder, "one", "two", "three"]


def test_what_was_edited_in_the_file_itself_is_kept_too(puzzle):
    text = puzzle.problem_file.read_text().replace(puzzle.placeholder, "by_hand()")
    puzzle.problem_file.write_text(text)
    attempts.write_attempt(puzzle, "from_the_cell()")
    assert any("by_hand()" in version.read_text() for version in attempts.history(puzzle))


@pytest.mark.parametrize("whole_file", [True, False])
def test_a_region_pasted_with_its_markers_is_taken_for_what_it_is(puzzle, whole_file):
    text = puzzle.solution_file.read_text()
    code = text if whole_file else text[text.index(BEGIN) : text.index(END) + len(END)]
    attempts.write_attempt(puzzle, code)
    assert puzzle.problem_file.read_text() == text


def test_a_lone_marker_is_refused_and_leaves_the_file_alone(puzzle):
    before = puzzle.problem_file.read_text()
    with pytest.raises(RegionError):
        attempts.write_attempt(puzzle, f"launch()\n{BEGIN}")
    assert puzzle.problem_file.read_text() == before


def test_reset_empties_the_region_and_keeps_the_attempt(puzzle):
    as_handed_out = puzzle.problem_file.read_text()
    attempts.write_attempt(puzzle, "mine()")
    attempts.reset(puzzle)
    assert puzzle.problem_file.read_text() == as_handed_out
    assert any("mine()" in version.read_text() for version in attempts.history(puzzle))


def test_reset_repairs_a_file_whose_markers_are_gone(puzzle):
    broken = puzzle.problem_file.read_text().replace(BEGIN, "")
    puzzle.problem_file.write_text(broken)
    with pytest.raises(RegionError, match=r"problems/p17/op\.mojo.*workbook reset p17"):
        attempts.write_attempt(puzzle, "mine()")
    attempts.reset(puzzle)
    assert attempts.read_attempt(puzzle) == puzzle.placeholder
    assert any(version.read_text() == broken for version in attempts.history(puzzle))


def _write_for_ever(path):
    number = 0
    while True:
        number += 1
        files.replace_file(path, f"{number}\n" * 20_000)


def test_a_writer_that_may_be_killed_at_any_moment_leaves_a_whole_file(tmp_path):
    """What a reader finds at some moment is what would remain if the writer were killed then."""
    path = tmp_path / "file"
    path.write_text("0\n" * 20_000)
    writer = multiprocessing.get_context("fork").Process(target=_write_for_ever, args=(path,))
    writer.start()
    try:
        found = set()
        deadline = time.monotonic() + 60
        while len(found) < 5 and time.monotonic() < deadline:
            lines = path.read_text().splitlines()
            assert len(lines) == 20_000, "the file was cut"
            assert len(set(lines)) == 1, "the file holds parts of two versions"
            found.add(lines[0])
    finally:
        writer.kill()
        writer.join()
    assert len(found) >= 2, "the writer wrote nothing"
