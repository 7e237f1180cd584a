"""Every notebook, executed as Run All does: as it is handed out, and with its puzzle solved."""

import re

import nbformat
import pytest
from nbclient import NotebookClient
from torch_here import needs_torch

from workbook import rooms, translations
from workbook.puzzles import all_puzzles, find_puzzle
from workbook.region import read_region

NOTEBOOKS = [*sorted(rooms.NOTEBOOKS.glob("*.ipynb")), *sorted(rooms.NOTEBOOKS.glob("[!.]*/*.ipynb"))]


def execute(name, fill=None):
    """Run all cells; `fill` replaces what stands below `%%fill`."""
    path = rooms.NOTEBOOKS / name
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if fill is not None and cell.source.startswith("%%fill"):
            cell.source = cell.source.splitlines()[0] + "\n" + fill
    NotebookClient(notebook, timeout=180, resources={"metadata": {"path": str(path.parent)}}).execute()
    return notebook


def output_of(notebook, source):
    """All that the cell with this source showed, as text."""
    cell = next(cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.startswith(source))
    return "\n".join(str(output.get("data", output.get("text", output))) for output in cell.outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_handed_out_without_outputs(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_lead_to_files(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown" and not translations.is_english(cell):
            prose = re.sub("`+[^`]*`+", "", cell.source)
            for link in re.findall(r"\]\(([^)#:]+)\)", prose):
                assert (path.parent / link).exists(), f"cell {cell.id}: {link}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_hold_prose_and_calls_of_one_line(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code" and not cell.source.startswith("%%fill"):
            calls = [line for line in cell.source.splitlines() if line and not line.startswith("import ")]
            assert len(calls) <= 1, cell.source


@pytest.mark.parametrize(
    "id",
    [pytest.param(id, marks=needs_torch if puzzle.fills == "torch" else ()) for id, puzzle in all_puzzles().items()],
)
def test_run_all_with_nothing_filled_in_says_what_to_do(id):
    puzzle = find_puzzle(id)
    notebook = execute(puzzle.notebook)
    for source in ("%%fill", "p.check()"):
        assert "not attempted" in output_of(notebook, source)
        assert f"{puzzle.problem_name} is still empty" in output_of(notebook, source)
    assert "cell and run it, then run this cell again" in output_of(notebook, "p.picture()")
    assert read_region(puzzle.problem_file.read_text()).code == puzzle.placeholder


@pytest.mark.parametrize("id", ["t1", "t2", "p17"])
def test_the_solved_notebook_shows_the_verdict_and_the_picture(id):
    puzzle = find_puzzle(id)
    solution = read_region(puzzle.solution_file.read_text()).code
    notebook = execute(puzzle.notebook, fill=solution)
    for source in ("%%fill", "p.check()"):
        shown = output_of(notebook, source)
        assert f"{id} passed" in shown
        assert "all elements match NumPy" in shown
    assert "application/vnd.jupyter.widget-view+json" in output_of(notebook, "p.picture()")
    assert "image/png" in output_of(notebook, "p.picture()")
    assert read_region(puzzle.problem_file.read_text()).code == solution
    if id == "t1":
        assert "10 vectors of 4 elements, 10 vectors of one element" in output_of(notebook, "p.vector_widths()")


def test_a_wrong_launch_is_shown_beside_numpy(puzzle):
    wrong = read_region(puzzle.solution_file.read_text()).code.replace("BLOCKS_PER_GRID", "1")
    shown = output_of(execute(puzzle.notebook, fill=wrong), "%%fill")
    assert "p17 failed" in shown
    assert "Block 1 never ran: grid_dim has 1 block, 28 elements need 2" in shown
    assert "13 of 28 elements differ" in shown
