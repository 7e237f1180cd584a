"""The what-if explorer in JupyterLab, in a real browser. What is run is launched on softgpu, without MAX."""

from pathlib import Path

import nbformat
import pytest
from browser import READY, screenshots
from playwright.sync_api import Page, expect

TESTS = Path(__file__).parent

CELL = """
import sys
sys.path[:0] = {path}
from explorers import explorer_of_p17
explorer_of_p17()
"""


@pytest.fixture
def explorer(lab, page: Page, checkout) -> Page:
    """A notebook with the explorer of puzzle 17."""
    code = CELL.format(path=[str(TESTS.parent), str(TESTS)]).strip()
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, checkout / "notebooks" / "explore.ipynb")
    page.goto(f"{lab}/lab/tree/notebooks/explore.ipynb?reset")
    page.wait_for_function(READY, timeout=60_000)
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    expect(page.locator(".what-if .stepper .drawing > svg")).to_be_visible(timeout=60_000)
    return page


def type_number(page: Page, row: int, number: int) -> None:
    field = page.locator(".what-if input[type=number]:visible").nth(row)
    field.fill(str(number))
    field.press("Enter")


def test_sliders_draw_and_a_run_is_compared(explorer):
    page = explorer
    score = page.locator(".what-if .score")
    assert "28 of 28 outputs right" in score.first.inner_text()
    assert not page.locator(".what-if .controls").first.is_visible()
    expect(page.get_by_role("group", name="Predicted")).to_be_visible()
    expect(page.locator(".jp-RenderedImage")).to_be_hidden()  # for where there is no kernel
    page.screenshot(path=screenshots() / "what_if_light.png")

    # No step stands out where there are none to go through.
    expect(page.locator(".what-if .cell:is(.writing, .reading)")).to_have_count(0)
    expect(page.locator(".what-if .legend").first).to_contain_text("halo load")
    expect(page.locator(".what-if .legend").first).not_to_contain_text("barrier")

    # The picture is that of the launch's end, whatever key is pressed; it keeps to the block that was chosen.
    stepper = page.locator(".what-if .stepper").first
    stepper.get_by_label("Block", exact=True).select_option("block 1")
    stepper.focus()
    page.keyboard.press("Home")
    expect(stepper.locator(".drawing .cell.own")).to_have_count(2 * (13 + 4))

    # A slider is moved: the picture follows, and so does the number of blocks.
    handle = page.locator(".what-if .noUi-handle").nth(2)
    handle.focus()
    for _press in range(5):
        handle.press("ArrowLeft")
    expect(score.first).to_contain_text("grid 3 × block 10")
    expect(page.locator(".what-if .cell.never").first).to_be_visible()
    expect(page.locator(".what-if")).to_contain_text(
        "No thread writes tile[10–12] in block 0, but threads 7–9 will read there"
    )

    expect(stepper.locator(".drawing .panel")).to_have_count(1)
    stepper.get_by_label("Block", exact=True).select_option("all blocks")

    page.get_by_role("button", name="Run it").click()
    expect(page.locator(".what-if")).to_contain_text("What happened is what was predicted")
    expect(page.locator(".what-if .stepper .drawing > svg")).to_have_count(2)
    assert score.nth(0).inner_text() == score.nth(1).inner_text()
    page.evaluate("window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
    page.wait_for_function("document.body.dataset.jpThemeLight === 'false'")
    page.locator("#jupyterlab-splash").wait_for(state="detached")
    page.screenshot(path=screenshots() / "what_if_dark.png")

    # A number that cannot be chosen is answered in a sentence, and changes nothing.
    type_number(page, 2, 1000)
    expect(page.locator(".what-if")).to_contain_text("cannot be 1000 here: choose a number from 1 to 64")
    assert "grid 3 × block 10" in score.first.inner_text()
    type_number(page, 2, 30)
    expect(score.first).to_contain_text("grid 1 × block 30")
    assert "cannot be" not in page.locator(".what-if").inner_text()
    expect(page.locator(".what-if")).to_contain_text("will write tile[22]")
    expect(page.locator(".what-if .cell.fault").first).to_be_visible()
    page.screenshot(path=screenshots() / "what_if_stopped.png")

    # Of a launch with more blocks than are drawn, another can be asked for.
    type_number(page, 2, 1)
    expect(score.first).to_contain_text("grid 28 × block 1")
    stepper.get_by_label("another block").fill("20")
    page.keyboard.press("Enter")
    expect(stepper.get_by_label("Block", exact=True)).to_contain_text("block 20")

    # Where there is nothing to draw, nothing is.
    type_number(page, 1, 18)
    expect(page.locator(".what-if")).to_contain_text("Mojo will not compile the kernel")
    expect(page.locator(".jp-RenderedImage")).to_be_hidden()
