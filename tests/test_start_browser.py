"""The first page, hints, the solution, and the history, in JupyterLab, light and dark. Nothing here is compiled: the
attempts are ones that the lint refuses."""

import re

import pytest
from browser import READY, screenshot
from playwright.sync_api import Locator, Page, expect

from workbook.learner import attempts, progress
from workbook.puzzles import find_puzzle
from workbook.region import read_region
from workbook.verdict import PASSED, Verdict

expect.set_options(timeout=30_000)  # a machine may be busy


def open_notebook(page: Page, lab: str, name: str) -> None:
    page.goto(f"{lab}/lab/tree/notebooks/{name}?reset")
    page.wait_for_function(READY, timeout=120_000)
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")


def cell(page: Page, source: str) -> Locator:
    of_this_source = page.locator(".jp-InputArea", has_text=source)
    return page.locator(".jp-NotebookPanel:visible .jp-CodeCell").filter(has=of_this_source).first


def run(page: Page, source: str, replacement: str | None = None) -> Locator:
    """Run the cell with this source, or put another source into it first."""
    found = cell(page, source)
    found.locator(".cm-content").click()
    if replacement is not None:
        page.keyboard.press("Control+A")
        page.keyboard.insert_text(replacement)
    page.keyboard.press("Control+Enter")
    return cell(page, (replacement or source).splitlines()[0])


def choose_theme(page: Page, name: str) -> None:
    page.evaluate(f"jupyterapp.commands.execute('apputils:change-theme', {{theme: 'JupyterLab {name}'}})")
    page.wait_for_function(f"document.body.dataset.jpThemeLight === '{str(name == 'Light').lower()}'")


def contrast(node: Locator) -> float:
    """Of a text with what it stands on, as WCAG counts it."""
    colours = node.evaluate(
        """node => {
            const ink = getComputedStyle(node).color;
            const opaque = colour => colour !== "transparent" && !colour.endsWith(", 0)");
            while (!opaque(getComputedStyle(node).backgroundColor)) node = node.parentElement;
            return [ink, getComputedStyle(node).backgroundColor];
        }"""
    )

    def luminance(colour: str) -> float:
        parts = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    dark, light = sorted(map(luminance, colours))
    return (light + 0.05) / (dark + 0.05)


@pytest.fixture
def puzzle():
    return find_puzzle("p17")


def test_help_that_waits_to_be_asked(lab, page: Page, puzzle, checkout):
    first = find_puzzle("t1")
    attempts.write_attempt(first, read_region(first.solution_file.read_text()).code)
    progress.record(first, attempts.read_problem(first), Verdict("t1", PASSED, "a sentence"))

    # The first page: this machine, how far one is, and from there to a puzzle.
    open_notebook(page, lab, "00_start_here.ipynb")
    expect(cell(page, "workbook.machine()")).to_contain_text("✓ This machine is ready: MAX ", timeout=60_000)
    overview = cell(page, "workbook.overview()")
    expect(overview.locator("tr", has_text="t1")).to_contain_text("✓")
    expect(overview).to_contain_text("Next is t2.")
    screenshot(page, "start_light")
    choose_theme(page, "Dark")
    assert contrast(overview.locator("td a").first) > 4.5
    screenshot(page, "start_dark")
    choose_theme(page, "Light")
    overview.get_by_role("link", name="1D convolution").click()
    page.wait_for_function(f"jupyterapp.shell.currentWidget.context.path.endsWith('{puzzle.notebook}')")

    # Run All reveals nothing and waits for nobody.
    page.wait_for_function(READY, timeout=120_000)
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
    reveal, hint = cell(page, "p.reveal()"), cell(page, "p.hint()")
    expect(reveal).to_contain_text("You have not tried yet", timeout=60_000)
    assert "BLOCKS_PER_GRID" not in reveal.inner_text()
    assert not progress.of(puzzle).revealed

    # Hints one at a time, with the mouse and with the keyboard; they are there again when the cell is run again.
    hint.get_by_role("button", name="Show a hint").click()
    expect(hint).to_contain_text("Hint 1 of 4")
    page.keyboard.press("Enter")
    expect(hint).to_contain_text("Hint 2 of 4")
    expect(hint.get_by_role("button", name="Next hint")).to_be_focused()
    assert "Hint 3" not in hint.inner_text()
    run(page, "p.hint()")
    expect(hint).to_contain_text("Hint 2 of 4")
    for number in (3, 4):
        hint.get_by_role("button", name="Next hint").click()
        expect(hint).to_contain_text(f"Hint {number} of 4")
    expect(hint.get_by_role("button", name="Show the solution")).to_be_visible()
    assert progress.of(puzzle).hints == 4

    # After an attempt the solution comes with the difference.
    wrong = " ".join(read_region(puzzle.solution_file.read_text()).code.split()).replace("BLOCKS_PER_GRID", "GRID")
    fill = run(page, "%%fill", f"%%fill p17\n{wrong}")
    expect(fill).to_contain_text("p17 failed")
    run(page, "p.reveal()")
    expect(reveal).not_to_contain_text("You have not tried yet")
    reveal.get_by_role("button", name="Show the solution").click()
    expect(reveal.locator(".diff del")).to_have_text(["GRID"])
    expect(reveal.locator(".diff ins")).to_have_text(["BLOCKS_PER_GRID"])
    reveal.scroll_into_view_if_needed()
    for theme in ("Light", "Dark"):
        choose_theme(page, theme)
        for marked in (reveal.locator(".diff del"), reveal.locator(".diff ins"), reveal.locator(".diff .added").first):
            assert contrast(marked) > 4.5
        screenshot(page, f"reveal_{theme.lower()}")

    # Of several errors the first is told, in the line that the cell has it in, and the others are folded.
    run(page, "%%fill", f"%%fill p17\n{wrong.replace('grid_dim', 'grid').replace('block_dim', 'block')}")
    expect(fill).to_contain_text("enqueue_function has no argument grid; did you mean grid_dim?")
    expect(fill.locator("pre").first).to_have_text(re.compile(r"line 2:  … .*grid=GRID, block=TPB, \)\n *\^\n?$"))
    second = fill.locator("details").get_by_text("did you mean block_dim")
    expect(second).not_to_be_visible()
    fill.get_by_text("And 1 more error").click()
    expect(second).to_be_visible()
    fill.scroll_into_view_if_needed()
    for theme in ("Dark", "Light"):
        choose_theme(page, theme)
        assert contrast(second) > 4.5
        screenshot(page, f"diagnosis_{theme.lower()}")

    # The history brings any version back, and keeps what was there.
    history = run(page, "p.reveal()", "p.history()")
    expect(history.locator("tbody tr")).to_have_count(3)
    expect(history.locator("tbody tr").first).to_contain_text("✗ failed")
    history.get_by_role("button", name="Show").nth(1).click()
    expect(history.locator(".workbook-source")).to_contain_text("GRID")
    history.get_by_role("button", name="Restore").first.click()
    expect(history).to_contain_text("What was there is version 3.")
    assert attempts.read_attempt(puzzle) == wrong
    for theme in ("Dark", "Light"):
        choose_theme(page, theme)
        screenshot(page, f"history_{theme.lower()}")
    run(page, "p.history()", "p.reset()")
    expect(cell(page, "p.reset()")).to_contain_text("What it held is version 4 of the history")
    assert attempts.read_attempt(puzzle) == puzzle.placeholder

    # A restarted kernel does not answer the buttons that were there before: one is told.
    page.evaluate("jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    page.wait_for_function(READY, timeout=60_000)
    hint.get_by_role("button", name="Show the solution").click()
    expect(hint).to_contain_text("Python has not answered", timeout=20_000)
