"""Help that waits to be asked: hints one at a time, the solution and the diff, and what a notebook makes of them."""

import re
from html import unescape
from importlib import import_module

import pytest

from workbook.learner import attempts, help, progress
from workbook.notebook import start
from workbook.notebook.panels import ROWS, History, hint_panel, reset_sentence, reveal_panel
from workbook.puzzles import all_puzzles
from workbook.region import read_region
from workbook.verdict import FAILED, PASSED, Verdict


def check(puzzle, code, outcome=FAILED):
    attempts.write_attempt(puzzle, code)
    progress.record(puzzle, attempts.read_problem(puzzle), Verdict(puzzle.id, outcome, "a sentence"))


def solution_of(puzzle):
    return read_region(puzzle.solution_file.read_text()).code


def press(panel, button):
    """What a click on the button does; there must be one."""
    assert f'data-ask="{button}"' in panel.html
    panel._asked(panel, {"ask": button}, [])


def text(html):
    """What is read, without tags."""
    return " ".join(unescape(re.sub(r"<style>.*?</style>|<[^>]*>", " ", html, flags=re.DOTALL)).split())


def signs(lines):
    return [str(line) for line in lines]


def marked(lines):
    return [piece for line in lines for piece, changed in line.pieces if changed]


# Hints


def test_hints_come_one_at_a_time_and_stay(puzzle):
    assert help.hints_shown(puzzle) == ()
    assert help.next_hint(puzzle).text == puzzle.hints[0]
    assert help.next_hint(puzzle).number == 2
    assert [hint.text for hint in help.hints_shown(puzzle)] == list(puzzle.hints[:2])
    for _ in puzzle.hints[2:]:
        assert help.next_hint(puzzle) is not None
    assert help.next_hint(puzzle) is None
    assert len(help.hints_shown(puzzle)) == len(puzzle.hints)


def test_more_hints_noted_than_there_are(puzzle):
    progress.hint_shown(puzzle, 99)
    assert len(help.hints_shown(puzzle)) == len(puzzle.hints)
    assert help.next_hint(puzzle) is None


def test_hints_in_a_notebook(puzzle):
    panel = hint_panel(puzzle)
    assert "Hint 1" not in panel.html
    for number, hint in enumerate(puzzle.hints, 1):
        assert "reveal" not in panel.html
        press(panel, "hint")
        assert f"Hint {number} of {len(puzzle.hints)}" in panel.html
        assert text(panel.html).count("Hint") == number
        assert hint.split("`")[0] in text(panel.html)
    assert 'data-ask="hint"' not in panel.html
    assert hint_panel(puzzle).html == panel.html, "after a restart they are there at once"
    press(panel, "reveal")
    assert "ctx.enqueue_function[" in text(panel.html).replace(" ", "")
    assert progress.of(puzzle).revealed


# The solution


def test_reveal_asks_first_where_nothing_has_been_attempted(puzzle):
    assert not help.has_attempted(puzzle)
    panel = reveal_panel(puzzle)
    assert "You have not tried yet" in panel.html and "grid_dim" not in panel.html
    assert not progress.of(puzzle).revealed
    press(panel, "reveal")
    assert "A solution" in panel.html and "grid_dim" in panel.html
    assert "Beside your code" not in panel.html
    assert progress.of(puzzle).revealed
    assert "A solution" in reveal_panel(puzzle).html, "who has seen it is not asked again"


def test_reveal_after_an_attempt_shows_the_difference(puzzle):
    check(puzzle, solution_of(puzzle).replace("BLOCKS_PER_GRID", "1"))
    assert help.has_attempted(puzzle)
    panel = reveal_panel(puzzle)
    assert "You have not tried yet" not in panel.html and "grid_dim" not in panel.html
    press(panel, "reveal")
    assert "<del>1</del>" in panel.html and "<ins>BLOCKS_PER_GRID</ins>" in panel.html
    attempts.reset(puzzle)
    assert help.has_attempted(puzzle), "an attempt that was reset was one too"


def test_a_file_whose_markers_are_gone_can_be_helped(puzzle):
    puzzle.problem_file.write_text("all gone")
    assert not help.has_attempted(puzzle)
    assert help.reveal(puzzle).code == solution_of(puzzle)


def test_an_attempt_that_passed_is_said_to_be_right(puzzle):
    mine = solution_of(puzzle).replace("BLOCKS_PER_GRID", "ceildiv(input_size, TPB)")
    check(puzzle, mine)
    assert help.reveal(puzzle).remark == "From your code (-) to the solution (+):"
    check(puzzle, mine, PASSED)
    solution = help.reveal(puzzle)
    assert solution.remark == "Your own code passed: it is right, too. This is one way among several."
    assert marked(solution.diff) == ["ceildiv(input_size, TPB)", "BLOCKS_PER_GRID"]
    check(puzzle, solution_of(puzzle), PASSED)
    assert help.reveal(puzzle).remark == "Your code is this very solution."


@pytest.mark.parametrize("id", all_puzzles())
def test_every_puzzle_has_help(id):
    puzzle = all_puzzles()[id]
    attempts.write_attempt(puzzle, "a = 1")
    solution = help.reveal(puzzle)
    assert solution.explanation and solution.diff
    assert len(puzzle.hints) >= 3


# The diff


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("f(a, b)", "f(a, b)", []),
        ("f(a,\n  b)", "f(\n    a,\n    b,\n)", []),  # the same but for line breaks and the last comma
        ("# Call it here.\nf(a)", "f(a)", []),
        ("f(a, b)", "f(a, c)", ["b", "c"]),
        ("f(BLOCK_PER_GRID)", "f(BLOCKS_PER_GRID)", ["S"]),  # misspelt: the letter
        ("f(grid)", "f(block)", ["grid", "block"]),  # another name: all of it
        ("f(b, a)", "f(a, b)", ["a", "a"]),  # one of the two was moved
        ("f()", "f(a[b, c])", ["a[b, c]"]),
    ],
)
def test_what_a_diff_marks(before, after, expected):
    found = marked(help.diff(before, after))
    assert [piece.strip(", ") for piece in found] == expected


def test_lines_of_a_diff():
    before = "# mine\nlaunch(\n    a,\n    grid_dim=1,\n)"
    after = "launch(\n    a,\n    grid_dim=BLOCKS,\n)"
    assert signs(help.diff(before, after)) == [
        "  launch(",
        "      a,",
        "-     grid_dim=1,",
        "+     grid_dim=BLOCKS,",
        "  )",
    ]


# History and reset, in a notebook


def test_history_shows_restores_and_keeps(puzzle):
    assert "There is no attempt yet" in History(puzzle).panel().html
    for number in range(1, 4):
        check(puzzle, f"launch_{number}()", PASSED if number == 2 else FAILED)
    panel = History(puzzle).panel()
    read = text(panel.html)
    assert read.index("launch_3()") < read.index("launch_1()"), "the latest comes first"
    assert "✓ passed launch_2()" in read and "✗ failed launch_1()" in read and "not checked (empty)" in read
    assert panel.html.count("in the file now") == 1

    press(panel, "show 3")
    assert "a sentence" in panel.html
    press(panel, "show 3")
    assert "a sentence" not in panel.html

    by_hand = puzzle.problem_file.read_text().replace("launch_3", "by_hand")
    puzzle.problem_file.write_text(by_hand)
    press(panel, "restore 3")
    assert attempts.read_attempt(puzzle) == "launch_2()"
    assert "Version 3 is in problems/p17/op.mojo again. What was there is version 5." in text(panel.html)
    press(panel, "restore 5")
    assert puzzle.problem_file.read_text() == by_hand


def test_a_history_names_what_is_new_in_a_version(puzzle):
    solution = solution_of(puzzle)
    for code in (solution, solution.replace("BLOCKS_PER_GRID", "1"), solution):
        attempts.write_attempt(puzzle, code)
    cells = re.findall(r'<td class="code">(.*?)</td>', History(puzzle).panel().html)
    assert cells[:3] == ["grid_dim=BLOCKS_PER_GRID,", "grid_dim=1,", "ctx.enqueue_function["]


def test_a_long_history_is_shown_in_part_at_first(puzzle):
    for number in range(ROWS + 3):
        attempts.write_attempt(puzzle, f"launch_{number}()")
    panel = History(puzzle).panel()
    assert "launch_0()" not in panel.html
    assert "Show 4 older ones" in panel.html
    press(panel, "all")
    assert "launch_0()" in panel.html


def test_code_is_shown_as_it_was_typed(puzzle):
    attempts.write_attempt(puzzle, "f[<script>alert(1)</script>]()")
    panel = History(puzzle).panel()
    press(panel, "show 2")
    assert "<script" not in panel.html


def test_reset_says_where_the_attempt_is_kept(puzzle):
    check(puzzle, "mine()")
    said = reset_sentence(puzzle)
    version = attempts.history(puzzle)[1]
    assert f"version 2 of the history, `.workbook/history/p17/{version.path.name}`" in said
    assert version.code == "mine()"


def test_a_saved_notebook_shows_what_was_shown(puzzle):
    panel = hint_panel(puzzle)
    press(panel, "hint")
    data, _metadata = panel._repr_mimebundle_()
    assert f"Hint 1 of {len(puzzle.hints)}" in data["text/html"] and "<button" not in data["text/html"]
    assert "<" not in data["text/plain"]


# The first page


def test_the_overview_says_how_far_one_is(puzzle, checkout, monkeypatch):
    monkeypatch.chdir(checkout / "notebooks")
    read = text(start.overview_html())
    assert f"0 of {len(all_puzzles())} puzzles are solved. Begin with t1." in read
    for each in all_puzzles().values():
        assert f'<a href="{each.notebook}"' in start.overview_html()
    check(all_puzzles()["t1"], "right()", PASSED)
    check(puzzle, "wrong()")
    help.next_hint(puzzle)
    read = text(start.overview_html())
    assert "✓ t1 Hello, custom op: add one passed 1" in read
    assert "✗ p17 1D convolution as a custom op failed 1 1 of " in read
    assert f"1 of {len(all_puzzles())} puzzles are solved. Next is t2." in read
    check(all_puzzles()["t1"], "broken()")
    assert "passed (the last attempt failed)" in text(start.overview_html())


BROKEN = """
class Broken:
    def __init__(self, kind):
        raise OSError("no such driver")
"""


def test_a_machine_that_is_not_ready_is_told_what_to_do(monkeypatch, tmp_path):
    shown = []
    monkeypatch.setattr(start.Place, "show", lambda place, html: shown.append(text(html)))
    (tmp_path / "broken.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # for the worker
    monkeypatch.setattr(start, "Probe", import_module("broken").Broken)
    start.show_machine()
    assert "✗ This machine is not ready yet." in shown[-1]
    assert "workbook doctor" in shown[-1] and shown[-1].endswith("no such driver")
