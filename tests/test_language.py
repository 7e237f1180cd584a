"""Which language the workbook speaks, and that all of it does."""

import ast
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import nbformat
import numpy as np
import pytest
from launches import conv1d
from matplotlib.backends.backend_agg import FigureCanvasAgg
from nbclient import NotebookClient

from workbook import language, rooms
from workbook.check import check_at_once
from workbook.language import UnknownLanguage
from workbook.learner import progress
from workbook.pictures.figure import figure
from workbook.puzzles import find_puzzle
from workbook.region import replace_region
from workbook.running.worker import Worker
from workbook.verdict import quote_line

EMPTY = "{puzzle} not attempted"
SOURCES = sorted(Path(language.__file__).parent.rglob("*.py"))


def in_korean(text):
    """What the catalogue has for a text: these tests do not depend on its wording."""
    translated = language._translations("ko").gettext(text)
    assert translated != text
    return translated


# Which language


def test_without_a_wish_it_is_english():
    assert language.language() == "en"


def test_a_notebook_speaks_the_language_of_its_folder(speak, monkeypatch):
    speak("en")
    monkeypatch.chdir(rooms.NOTEBOOKS / "ko")
    assert language.language() == "ko"


def test_elsewhere_the_variable_says_it(speak, monkeypatch):
    speak("ko")
    monkeypatch.chdir(rooms.NOTEBOOKS)
    assert language.language() == "ko"


def test_a_language_that_does_not_exist_is_answered_with_those_there_are(speak):
    speak("xx")
    with pytest.raises(UnknownLanguage, match=r"'xx'.*WORKBOOK_LANG.*en, ko"):
        language.gettext(EMPTY)


def test_lab_opens_the_notebook_of_the_language(speak):
    assert language.notebook_file("p17_conv1d_op.ipynb") == rooms.NOTEBOOKS / "p17_conv1d_op.ipynb"
    speak("ko")
    assert language.notebook_file("p17_conv1d_op.ipynb") == rooms.NOTEBOOKS / "ko" / "p17_conv1d_op.ipynb"
    assert language.notebook_file("new.ipynb") == rooms.NOTEBOOKS / "new.ipynb"


# Everything speaks it


def workbook(*arguments, **variables):
    command = [sys.executable, "-m", "workbook.commands.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | variables)


def test_the_command_line_speaks_it_and_so_does_its_help():
    told = workbook("check", "p17", WORKBOOK_LANG="ko")
    assert told.returncode == 3
    assert in_korean(EMPTY).format(puzzle="p17") in told.stdout
    helped = workbook("--help", WORKBOOK_LANG="ko").stdout
    assert in_korean("usage: ") + "workbook" in helped
    assert in_korean("show this help message and exit") in workbook("check", "--help", WORKBOOK_LANG="ko").stdout


def test_the_command_line_refuses_an_unknown_language_in_one_sentence():
    told = workbook("check", "p17", WORKBOOK_LANG="xx")
    assert told.returncode == 2
    assert told.stderr == "The workbook does not speak 'xx', which WORKBOOK_LANG asks for. It speaks: en, ko.\n"


def test_a_korean_notebook_is_answered_in_korean():
    path = rooms.NOTEBOOKS / "ko" / "p17_conv1d_op.ipynb"
    notebook = nbformat.read(path, as_version=4)
    progress.hint_shown(find_puzzle("p17"), 1)
    NotebookClient(notebook, timeout=180, resources={"metadata": {"path": str(path.parent)}}).execute()
    shown = {
        cell.source.splitlines()[0]: "\n".join(str(output.get("data", output)) for output in cell.outputs)
        for cell in notebook.cells
        if cell.cell_type == "code"
    }
    for source in ("%%fill p17", "p.check()"):
        assert in_korean(EMPTY).format(puzzle="p17") in shown[source]
    assert (
        in_korean("Hint {number} of {count}").format(number=1, count=len(find_puzzle("p17").hints)) in shown["p.hint()"]
    )


def test_a_worker_speaks_the_language_of_its_notebook(speak, monkeypatch):
    speak("en")
    monkeypatch.delenv(language.VARIABLE)
    monkeypatch.chdir(rooms.NOTEBOOKS / "ko")
    worker = Worker("softgpu")
    try:
        variables = Path(f"/proc/{worker.pid}/environ")
        deadline = time.monotonic() + 30
        while not variables.read_bytes() and time.monotonic() < deadline:  # it is empty until the program runs
            time.sleep(0.01)
        assert b"WORKBOOK_LANG=ko" in variables.read_bytes().split(b"\0")
    finally:
        worker.close()


def test_the_caret_stands_below_its_column_beside_wide_letters(speak, monkeypatch):
    speak("ko")
    monkeypatch.setattr("workbook.verdict._", {"line {line}:": "{line}번째 줄:"}.get)
    code, caret = quote_line(3, "a 가 b", 5).splitlines()
    assert language.width(caret) == language.width(code), "the caret is below the last letter"


def test_a_launch_is_linted_in_korean(speak, puzzle):
    text = replace_region(puzzle.solution_file.read_text(), "ctx.enqueue_function[conv1d_kernel]()")
    english = check_at_once(puzzle, text).headline
    speak("ko")
    assert check_at_once(puzzle, text).headline != english


# Figures


@pytest.mark.parametrize("launch", [{}, {"grid": 1}, {"grid": 3, "block": 10}, {"block": 16}, {"grid": 100}])
def test_figures_have_the_letters_of_the_language_and_room_for_them(speak, launch):
    speak("ko")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of each letter that no face has
        drawn = figure(conv1d(**launch))
        drawn.savefig(os.devnull, format="png")
    renderer = FigureCanvasAgg(drawn).get_renderer()
    shown = [text for text in drawn.axes[0].texts if text.get_text()]
    assert any("가" <= letter <= "힣" for text in shown for letter in text.get_text())
    left, bottom, right, top = np.array([text.get_window_extent(renderer).padded(-1).extents for text in shown]).T
    assert left.min() >= 0 and right.max() <= drawn.bbox.width
    apart = (left[:, None] >= right) | (bottom[:, None] >= top)
    covering = np.argwhere(np.triu(~(apart | apart.T), k=1))
    assert [(shown[one].get_text(), shown[other].get_text()) for one, other in covering] == []


# The source


def calls_of_gettext(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("_", "N_", "ngettext", "pgettext"):
            yield node


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_texts_are_translated_before_values_are_put_in(path):
    """`_(f"…")` and `_("…" + …)` would look for a text that no catalogue can have."""
    for call in calls_of_gettext(ast.parse(path.read_text())):
        for argument in call.args:
            assert not isinstance(argument, (ast.JoinedStr, ast.BinOp)), f"line {call.lineno}"
            assert not (isinstance(argument, ast.Call) and getattr(argument.func, "attr", "") == "format"), call.lineno


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_variable_takes_the_name_of_gettext(path):
    tree = ast.parse(path.read_text())
    if any(calls_of_gettext(tree)) and path.stem != "language":
        assigned = [
            node.lineno
            for node in ast.walk(tree)
            if isinstance(node, ast.Name) and node.id == "_" and isinstance(node.ctx, ast.Store)
        ]
        assert assigned == []


def test_nothing_is_translated_when_a_module_is_imported():
    """A constant that was translated at import would keep its language for good."""
    program = (
        "import workbook.commands.main, workbook.notebook.puzzle\n"
        "from workbook.language import language\n"
        "raise SystemExit(language.cache_info().currsize)"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
