"""The notebook in JupyterLab, in a real browser: type the solution, run the cell, see the verdict and the picture."""

from browser import READY, screenshots
from playwright.sync_api import Page

from workbook.region import read_region


def test_a_learner_solves_the_puzzle(lab, page: Page, puzzle, checkout):
    page.goto(f"{lab}/lab/tree/notebooks/{puzzle.notebook}")
    page.wait_for_function(READY, timeout=120_000)
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
    cells = page.locator(".jp-NotebookPanel .jp-CodeCell")
    fill, check, picture = (cells.filter(has_text=text).first for text in ("%%fill", "p.check()", "p.picture()"))
    assert "not attempted" in fill.locator(".workbook-verdict").inner_text(timeout=60_000)

    fill.locator(".cm-content").click()
    page.keyboard.press("Control+End")
    page.keyboard.press("Enter")
    # One line, because the editor would indent after a line break.
    page.keyboard.insert_text(" ".join(read_region(puzzle.solution_file.read_text()).code.split()))
    page.keyboard.press("Control+Enter")
    passed = fill.locator(".workbook-verdict", has_text="p17 passed")
    passed.wait_for(timeout=120_000)
    assert "All 6 cases match NumPy" in passed.inner_text()

    for cell in (check, picture):
        cell.locator(".cm-content").click()
        page.keyboard.press("Control+Enter")
    assert "p17 passed" in check.locator(".workbook-verdict").inner_text(timeout=30_000)
    stepper = picture.locator(".stepper")
    stepper.locator(".drawing .cell.halo").first.wait_for(timeout=60_000)
    assert "28 of 28 outputs right" in stepper.locator(".score").inner_text()
    assert picture.locator(".jp-RenderedImage:visible").count() == 0, "it is for where there is no kernel"
    picture.scroll_into_view_if_needed()
    page.screenshot(path=screenshots() / "p17_solved.png")

    # Another case, chosen as a learner does.
    stepper.get_by_label("Case").select_option(index=3)
    assert "conv_size 6" in stepper.locator(".score").inner_text()
    assert stepper.locator(".drawing .cell.halo").count() == 2 * 5
