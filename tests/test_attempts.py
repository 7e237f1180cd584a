import multiprocessing
import os
import shutil
import time

import pytest
from killed import run_and_kill, run_at_once

from workbook import files, rooms
from workbook.learner import attempts
from workbook.learner.attempts import UnknownVersion
from workbook.region import BEGIN, END, RegionError, read_region
from workbook.verdict import FAILED, PASSED, STOPPED, Verdict


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


def test_the_verdict_of_a_version_is_kept_beside_it(puzzle):
    attempts.write_attempt(puzzle, "one()")
    first = attempts.read_problem(puzzle)
    attempts.write_attempt(puzzle, "two()")
    assert attempts.record_verdict(puzzle, first, Verdict("p17", FAILED, 'a "quoted" \\ sentence, 한국어\x7f'))
    assert not attempts.record_verdict(puzzle, first, Verdict("p17", PASSED, "second thoughts"))
    assert not attempts.record_verdict(puzzle, first, Verdict("p17", STOPPED, "says nothing"))
    assert [version.outcome for version in attempts.history(puzzle)] == [None, PASSED, None]
    assert [version.number for version in attempts.history(puzzle)] == [1, 2, 3]
    assert attempts.history(puzzle)[1].headline == "second thoughts"
    assert attempts.history(puzzle)[1].code == "one()"
    attempts.history(puzzle)[1].path.with_suffix(".toml").write_text("damaged [")
    assert attempts.history(puzzle)[1].outcome is None


def test_a_headline_comes_back_as_it_was(puzzle):
    headline = 'a "quoted" \\ sentence,\n한국어\x7f\x00'
    attempts.record_verdict(puzzle, attempts.read_problem(puzzle), Verdict("p17", FAILED, headline))
    assert attempts.history(puzzle)[0].headline == headline


def test_restore_brings_a_version_back_and_keeps_what_was_there(puzzle):
    attempts.write_attempt(puzzle, "one()")
    attempts.write_attempt(puzzle, "two()")
    text = puzzle.problem_file.read_text() + "# typed in an editor\n"
    puzzle.problem_file.write_text(text)
    kept = attempts.restore(puzzle, 2)
    assert attempts.read_attempt(puzzle) == "one()"
    assert kept.read_text() == text
    assert attempts.find_version(puzzle, kept.number) == kept
    for number in (0, 99):
        with pytest.raises(UnknownVersion, match=rf"p17 has no version {number}: they are numbered from 1 to 5"):
            attempts.restore(puzzle, number)


def test_reset_keeps_what_is_no_text_and_needs_no_file(puzzle):
    as_handed_out = puzzle.problem_file.read_text()
    puzzle.problem_file.write_bytes(b"\xff\xfe not UTF-8")
    kept = attempts.reset(puzzle)
    assert kept.path.read_bytes() == b"\xff\xfe not UTF-8"
    assert puzzle.problem_file.read_text() == as_handed_out
    puzzle.problem_file.unlink()
    assert attempts.reset(puzzle) is None
    assert puzzle.problem_file.read_text() == as_handed_out


def test_the_mark_that_some_editors_begin_a_file_with_is_not_part_of_it(puzzle):
    text = puzzle.problem_file.read_text()
    puzzle.problem_file.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert attempts.read_problem(puzzle) == text


def test_reset_needs_no_folder_either(puzzle):
    shutil.rmtree(puzzle.problem_file.parent)
    assert attempts.reset(puzzle) is None
    assert attempts.read_attempt(puzzle) == puzzle.placeholder


def test_a_clock_that_is_set_back_does_not_change_the_order(puzzle):
    folder = rooms.HISTORY / puzzle.id
    folder.mkdir(parents=True)
    (folder / "2999-12-31_23-59-59-999999.mojo").write_text("later")
    attempts.write_attempt(puzzle, "mine()")
    assert attempts.history(puzzle)[-1].code == "mine()"


def test_writers_that_are_killed_at_any_moment_lose_nothing_that_was_written(puzzle):
    def write_and_restore(name, say):
        number = 0
        while True:
            number += 1
            attempts.write_attempt(puzzle, f"launch_{name}_{number}()")
            say(f"launch_{name}_{number}()")
            if number % 3 == 0:
                attempts.restore(puzzle, 1)

    confirmed = {line for said in run_and_kill(write_and_restore, rounds=50) for line in said}
    assert confirmed <= {version.code for version in attempts.history(puzzle)}
    attempts.read_attempt(puzzle)  # the file is whole
    moments = [version.moment for version in attempts.history(puzzle)]
    assert moments == sorted(set(moments))


def test_two_writers_at_once_are_both_in_the_history(puzzle):
    def write(name, say):
        for number in range(30):
            attempts.write_attempt(puzzle, f"launch_{name}_{number}()")

    run_at_once(write)
    kept = [version.code for version in attempts.history(puzzle)]
    assert sorted(kept[1:]) == sorted(f"launch_{name}_{number}()" for name in range(2) for number in range(30))
    assert attempts.read_attempt(puzzle) == kept[-1]


def test_what_a_killed_writer_left_behind_is_swept_up(tmp_path):
    old, young = tmp_path / f"{files.UNFINISHED}old", tmp_path / f"{files.UNFINISHED}young"
    for leftover in (old, young):
        leftover.write_text("half a f")
    os.utime(old, (0, 0))
    files.replace_file(tmp_path / "file", "text")
    assert not old.exists()
    assert young.exists(), "somebody may be writing it"


def renames(path, text):
    """What an editor does that writes a new file and puts it in the place of the old one."""
    new = path.with_name("saved")
    new.write_text(text)
    new.replace(path)


def writes_in_place(path, text):
    path.write_text(text)


@pytest.mark.parametrize("can_exchange, save", [(True, renames), (True, writes_in_place), (False, writes_in_place)])
def test_what_an_editor_saves_while_the_file_is_replaced_is_kept(puzzle, monkeypatch, can_exchange, save):
    exchange = files._exchange

    def after_a_save(temporary, path):
        save(path, "saved just now")
        return can_exchange and exchange(temporary, path)

    monkeypatch.setattr(files, "_exchange", after_a_save)
    attempts.write_attempt(puzzle, "from_the_cell()")
    assert attempts.read_attempt(puzzle) == "from_the_cell()"
    before, saved, now = (version.read_text() for version in attempts.history(puzzle))
    assert (puzzle.placeholder in before, saved, "from_the_cell()" in now) == (True, "saved just now", True)
    assert not list(puzzle.problem_file.parent.glob(".unfinished*"))


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_save_that_ends_after_the_file_was_replaced_is_kept(puzzle, monkeypatch, can_exchange):
    exchange, editors = files._exchange, []

    def while_a_save_has_begun(temporary, path):
        editors.append(path.open("w"))
        return can_exchange and exchange(temporary, path)

    monkeypatch.setattr(files, "_exchange", while_a_save_has_begun)
    attempts.write_attempt(puzzle, "from_the_cell()")
    with editors[0] as editor:
        editor.write("saved just now")
    assert attempts.read_attempt(puzzle) == "from_the_cell()"
    assert "saved just now" in [version.read_text() for version in attempts.history(puzzle)]
