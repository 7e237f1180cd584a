"""The learner's file is edited wherever one likes: it is watched, and where cell and file differ both are kept."""

import os
import threading

import gated
import pytest
from test_waiting import code_of, eventually, gate, shown, stand_in  # noqa: F401 - fixtures

from workbook import rooms
from workbook.learner import attempts
from workbook.learner.watch import Saved, Superseded, look, watch
from workbook.notebook import fill_cell
from workbook.notebook.puzzle import NotebookPuzzle
from workbook.notebook.waiting import Interrupted

# The file


@pytest.fixture
def watched(puzzle):
    """What the watch has reported, while it runs."""
    reported, stop = [], threading.Event()
    known = look(puzzle)
    thread = threading.Thread(target=watch, args=(puzzle, lambda saved, go_on: reported.append(saved), stop, known))
    thread.start()
    yield reported
    stop.set()
    thread.join()


def in_place(path, text):
    path.write_text(text)


def by_renaming(path, text):
    other = path.with_name("other")
    other.write_text(text)
    os.replace(other, path)


def deleting_first(path, text):
    path.unlink()
    path.write_text(text)


@pytest.mark.parametrize("save", [in_place, by_renaming, deleting_first])
def test_a_change_is_noticed_however_an_editor_saves(puzzle, watched, save):
    text = puzzle.solution_file.read_text()
    save(puzzle.problem_file, text)
    eventually(lambda: watched)
    assert watched == [Saved(text=text)]


def test_a_file_that_is_being_written_is_left_to_be_finished(puzzle, monkeypatch):
    """What each look finds: half of it, more of it, all of it; then it rests."""
    whole = puzzle.solution_file.read_text()
    found = iter([Saved(text="half"), Saved(problem="more"), *[Saved(text=whole)] * 3])
    reported, stop = [], threading.Event()

    def one_look(puzzle):
        try:
            return next(found)
        except StopIteration:
            stop.set()
            return Saved(text=whole)

    monkeypatch.setattr("workbook.learner.watch.look", one_look)
    monkeypatch.setattr("workbook.learner.watch.SECONDS_BETWEEN_LOOKS", 0)
    watch(puzzle, lambda saved, go_on: reported.append(saved), stop)
    assert reported == [Saved(text=whole)]


def test_a_file_that_cannot_be_checked_is_told_in_a_sentence_and_watched_on(puzzle, watched):
    puzzle.problem_file.unlink()
    eventually(lambda: len(watched) == 1)
    assert "problems/p17/op.mojo is gone. `workbook reset p17` brings it back" in watched[0].problem
    puzzle.problem_file.write_bytes(b"\xff\xfe")
    eventually(lambda: len(watched) == 2)
    assert "not a text in UTF-8" in watched[1].problem
    puzzle.problem_file.write_text("no markers")
    eventually(lambda: len(watched) == 3)
    assert "must have the line `# >>> your code` once" in watched[2].problem
    puzzle.problem_file.write_text(puzzle.solution_file.read_text())
    eventually(lambda: len(watched) == 4)
    assert watched[3].text


def test_the_newest_text_wins(puzzle):
    """A check is given up when the file is saved again, and the newer text is checked."""
    right = puzzle.solution_file.read_text()
    begun, finished, stop = [], [], threading.Event()

    def check(saved, go_on):
        begun.append(saved.text)
        if len(begun) == 1:
            puzzle.problem_file.write_text(right)
            with pytest.raises(Superseded):
                go_on()
            go_on()
        finished.append(saved.text)
        stop.set()

    thread = threading.Thread(target=watch, args=(puzzle, check, stop))
    thread.start()
    thread.join(60)
    assert len(begun) == 2 and finished == [right]


def test_watching_in_a_notebook(puzzle, stand_in, gate, shown):  # noqa: F811
    outputs, bars = shown
    p = NotebookPuzzle(puzzle)
    p.watch()
    assert "is watched" in outputs[0] and "not attempted" in outputs[1]
    right = puzzle.solution_file.read_text()
    gate.unlink()
    puzzle.problem_file.write_text(right.replace("grid_dim=BLOCKS_PER_GRID", "grid_dim=1"))
    eventually(lambda: bars and bars[0].estimate.step.stage == "graph")
    puzzle.problem_file.write_text(right)  # before the other was checked
    eventually(lambda: len(bars) == 2)
    gate.touch()
    eventually(lambda: "p17 passed" in str(outputs[1]))
    assert len(outputs) == 2 and p.verdict.passed
    puzzle.problem_file.write_text("half a file")
    eventually(lambda: "must have the line" in outputs[1])
    p.watch(False)
    assert "is not watched any more" in outputs[0]
    puzzle.problem_file.write_text(right)
    p.check()
    assert "must have the line" in outputs[1] and "p17 passed" in outputs[2]
    kept = [version.read_text() for version in attempts.history(puzzle)]
    assert right in kept and right.replace("grid_dim=BLOCKS_PER_GRID", "grid_dim=1") in kept


def test_what_was_cancelled_is_not_begun_again_by_the_watch(puzzle, stand_in, shown):  # noqa: F811
    outputs, bars = shown
    p = NotebookPuzzle(puzzle)
    p.watch()

    def press():
        eventually(lambda: bars)
        bars[0]._handle_custom_msg({"cancel": True}, [])

    presser = threading.Thread(target=press)
    presser.start()
    with pytest.raises(Interrupted):
        p.fill(code_of(puzzle))
    presser.join()
    p._watching._check(look(puzzle), lambda: None)  # as when it next looks
    assert len(bars) == 1 and "You stopped the attempt" in outputs[-1]
    gated.gate().touch()
    edit_elsewhere(puzzle, f"{code_of(puzzle)}\n# again")
    eventually(lambda: "p17 passed" in str(outputs[1]))
    p.watch(False)


# The cell and the file


def edit_elsewhere(puzzle, code):
    puzzle.problem_file.write_text(attempts.replace_region(puzzle.problem_file.read_text(), code))


def kept(puzzle, code):
    return [version for version in attempts.history(puzzle) if attempts.read_region(version.read_text()).code == code]


A, B, C = "first()", "elsewhere()", "second()"


def test_where_both_were_changed_both_are_kept(puzzle):
    cell = fill_cell.FillCell(puzzle)
    assert cell.run(A) == (True, "")
    edit_elsewhere(puzzle, B)
    is_checked, told = cell.run(C)
    assert is_checked and attempts.read_attempt(puzzle) == C
    (version,) = kept(puzzle, B)
    assert f"the other is kept in {version.path.relative_to(rooms.ROOT)}." in told
    assert cell.run(C) == (True, "")


def test_a_cell_that_is_run_again_does_not_overwrite_what_was_written_elsewhere(puzzle):
    cell = fill_cell.FillCell(puzzle)
    cell.run(A)
    edit_elsewhere(puzzle, B)
    for same_cell in (cell, fill_cell.FillCell(puzzle)):  # also after a restart of the kernel
        is_checked, told = same_cell.run(A)
        assert is_checked and attempts.read_attempt(puzzle) == B
        assert "the file was checked" in told and "run the cell once more" in told
    assert cell.run(A)[0] and attempts.read_attempt(puzzle) == A
    assert kept(puzzle, B)


def test_going_back_to_an_older_code_is_no_conflict(puzzle):
    cell = fill_cell.FillCell(puzzle)
    for code in (A, C, A):
        assert cell.run(code) == (True, "")
        assert attempts.read_attempt(puzzle) == code


def test_an_emptied_cell_takes_the_code_of_the_file(puzzle, monkeypatch):
    class Shell:
        def set_next_input(self, text, replace):
            assert replace
            self.text = text

    shell = Shell()
    monkeypatch.setattr(fill_cell, "get_ipython", lambda: shell)
    edit_elsewhere(puzzle, B)
    cell = fill_cell.FillCell(puzzle)
    is_checked, told = cell.run(puzzle.placeholder)
    assert is_checked and "it has the code of problems/p17/op.mojo now" in told
    assert shell.text == f"%%fill p17\n{B}"
    assert cell.run(B) == (True, "")


def test_a_file_that_is_gone_is_said_in_a_sentence(puzzle, stand_in, shown):  # noqa: F811
    outputs, _bars = shown
    p = NotebookPuzzle(puzzle)
    puzzle.problem_file.unlink()
    p.fill(code_of(puzzle))
    p.check()
    assert p.op() is None
    assert all("problems/p17/op.mojo is gone" in output for output in outputs) and len(outputs) == 3
    p.reset()
    gated.gate().touch()
    p.fill(code_of(puzzle))
    assert "p17 passed" in outputs[-1]
