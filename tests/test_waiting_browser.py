"""While an attempt runs in JupyterLab, in a real browser: the bar, the button, Interrupt, and a watched file."""

import re
from pathlib import Path

import gated
import nbformat
import pytest
from browser import READY, screenshots
from playwright.sync_api import Page, expect

from workbook.learner import attempts
from workbook.region import read_region

RUN_ALL = "jupyterapp.commands.execute('notebook:run-all-cells')"


@pytest.fixture
def notebook(checkout, puzzle, monkeypatch, request):
    """The solution in a fill-in cell, a cell after it, and cells to check and to watch. MAX is stood in for."""
    monkeypatch.setenv("PYTHONPATH", str(gated.copied_to(checkout / "stand-in")))
    sources = [
        'import gated, workbook\ngated.install()\np = workbook.open_puzzle("p17")',
        f"%%fill p17\n{read_region(puzzle.solution_file.read_text()).code}",
        'print("the next cell ran", p.verdict.outcome)',
        "p.check(seed=1)",
        "p.watch()",
    ]
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    metadata = nbformat.read(checkout / "notebooks" / puzzle.notebook, as_version=4).metadata
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
    nbformat.write(notebook, checkout / "notebooks" / "waiting.ipynb")
    request.getfixturevalue("lab")  # only now, so that it has the path
    return "notebooks/waiting.ipynb"


def test_waiting(notebook, lab, page: Page, puzzle):
    page.goto(f"{lab}/lab/tree/{notebook}?reset")
    page.wait_for_function(READY, timeout=60_000)
    cells = page.locator(".jp-NotebookPanel .jp-CodeCell")
    _open, fill, following, again, watch = (cells.nth(number) for number in range(5))

    def run(cell):
        cell.locator(".cm-content").click()
        page.keyboard.press("Control+Enter")

    def kernel_is_idle():
        page.wait_for_function(READY, timeout=60_000)

    # The bar, in both themes.
    page.evaluate(f"void {RUN_ALL}")
    bar = fill.locator(".workbook-waiting")
    expect(bar).to_contain_text("Mojo accepts your code. MAX builds the graph around it", timeout=60_000)
    expect(bar.locator(".elapsed")).to_have_text(re.compile(r"[1-9]\d* s"), timeout=30_000)
    assert 0 < int(bar.get_by_role("progressbar").get_attribute("aria-valuenow")) < 100
    assert bar.locator(".done").bounding_box()["width"] > 5
    page.screenshot(path=screenshots() / "waiting_light.png")
    page.evaluate("jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
    page.wait_for_selector("body[data-jp-theme-light=false]", state="attached")
    page.screenshot(path=screenshots() / "waiting_dark.png")

    # The button ends the attempt, and Run All with it, while the cell runs.
    bar.get_by_role("button", name="Cancel").click()
    expect(fill.locator(".workbook-verdict")).to_contain_text("You stopped the attempt", timeout=20_000)
    expect(bar).to_have_count(0)
    kernel_is_idle()
    assert following.locator(".jp-OutputArea-output").count() == 0
    page.screenshot(path=screenshots() / "waiting_cancelled.png")

    # The next attempt works; the cell ends only with the verdict.
    page.evaluate(f"void {RUN_ALL}")
    expect(bar).to_contain_text("MAX builds the graph", timeout=60_000)
    assert following.locator(".jp-OutputArea-output").count() == 0
    gated.gate().touch()
    expect(fill.locator(".workbook-verdict")).to_contain_text("p17 passed", timeout=60_000)
    expect(following).to_contain_text("the next cell ran passed")
    expect(bar).to_have_count(0)
    kernel_is_idle()

    # Interrupt works as ever.
    gated.gate().unlink()
    run(again)
    expect(again.locator(".workbook-waiting")).to_contain_text("MAX builds the graph", timeout=60_000)
    page.evaluate("jupyterapp.commands.execute('notebook:interrupt-kernel')")
    expect(again.locator(".workbook-verdict")).to_contain_text("You stopped the attempt", timeout=20_000)
    kernel_is_idle()

    # A watched file is checked where the watch was begun, while the kernel is free.
    run(watch)
    verdict = watch.locator(".workbook-verdict").nth(1)
    expect(verdict).to_contain_text("p17 passed", timeout=30_000)
    expect(verdict).to_contain_text("This is the answer from")
    right = puzzle.solution_file.read_text()
    puzzle.problem_file.write_text(right.replace("grid_dim=BLOCKS_PER_GRID", "grid_dim=1"))
    expect(watch.locator(".workbook-waiting")).to_contain_text("MAX builds the graph", timeout=60_000)
    # What can be foreseen of a wrong launch is said long before it has run.
    foreseen = watch.locator(".workbook-waiting .foreseen")
    expect(foreseen).to_contain_text("28 outputs, but 1 × 15 is only 15: 13 outputs are never written.")
    expect(foreseen.locator("code").first).to_have_text("grid_dim")
    page.screenshot(path=screenshots() / "waiting_watch.png")
    gated.gate().touch()
    expect(verdict).to_contain_text("p17 failed", timeout=60_000)
    puzzle.problem_file.write_text("half a fi")
    expect(verdict).to_contain_text("The file must have the line # >>> your code once", timeout=30_000)
    puzzle.problem_file.write_text(right)
    expect(verdict).to_contain_text("p17 passed", timeout=60_000)
    page.screenshot(path=screenshots() / "waiting_watched.png")
    assert attempts.read_attempt(puzzle) == read_region(right).code

    # A cell that was emptied takes the code of the file.
    fill.locator(".cm-content").click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text("%%fill p17\n#")
    page.keyboard.press("Control+Enter")
    expect(fill.locator(".cm-content")).to_contain_text("ctx.enqueue_function", timeout=30_000)
    expect(fill.locator(".workbook-verdict").first).to_contain_text("it has the code of problems/p17/op.mojo now")
    page.screenshot(path=screenshots() / "waiting_cell_from_file.png")

    # Nothing of the bar is left in the notebook that is saved.
    page.evaluate("jupyterapp.commands.execute('docmanager:save')")
    kernel_is_idle()
    saved = (Path(puzzle.problem_file).parents[2] / notebook).read_text()
    assert re.search("p17 passed", saved) and "widget-view" not in saved
