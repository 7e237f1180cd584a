"""The stepper in a real browser: as a page of its own, and in JupyterLab."""

import json
import statistics
from pathlib import Path

import nbformat
import pytest
from browser import READY, screenshots
from launches import case_of, conv1d, copy, vector_addition
from playwright.sync_api import Page, expect

from softgpu import Racecheck
from workbook.stepper import widget
from workbook.stepper.data import launch_data

TESTS = Path(__file__).parent


@pytest.fixture
def show(page: Page, tmp_path, puzzle, monkeypatch):
    """Opens the page of some launches, which may not ask for anything, and in which nothing may fail."""
    monkeypatch.setattr(widget, "look_up_lines", lambda *attempt: None)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: request.url.startswith("file:") or problems.append(request.url))

    def show(**views):
        cases = {name: case_of(view, input_size=28, conv_size=4) for name, view in views.items()}
        file = tmp_path / "attempt.html"
        file.write_text(widget.page(puzzle, puzzle.solution_file.read_text(), cases))
        page.goto(file.as_uri())
        expect(page.locator(".stepper .drawing svg")).to_be_visible()
        return page

    yield show
    assert not problems


def open_page_of(page, folder, view, blocks=None):
    launch = {"name": "", **launch_data(view, blocks=blocks)}
    file = folder / "page.html"
    file.write_text(widget.page_of({"strings": widget.strings(), "selected": 0, "launches": [launch]}, "page"))
    page.goto(file.as_uri())


def sentence(page):
    return page.locator(".sentence").inner_text()


def words_of(page, name, row):
    """What stands in the cells of a row: the `row`-th one with this name."""
    cells = page.locator(".drawing .cell")
    return cells.evaluate_all(
        "(cells, [name, row]) => cells.filter((cell) => cell.classList.contains(name)).map((cell) => "
        "[...cell.querySelectorAll('text')].map((text) => text.textContent)[row])",
        [name, row],
    )


def test_stepping_through_a_launch_with_the_keyboard(show):
    page = show(right=conv1d())
    assert sentence(page).startswith("Block 0: threads 0–14 write output[0–14].")
    assert page.locator(".count").inner_text() == "step 16 of 16"
    page.locator(".stepper").focus()
    page.keyboard.press("Home")
    assert sentence(page) == "Before the first step: no thread has read or written anything."
    assert page.locator(".drawing").locator(".cell.own, .cell.halo, .cell.right").count() == 0
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert sentence(page).splitlines()[0] == "Block 0: threads 0–2 write tile[15–17]."
    assert words_of(page, "halo", 2) == ["t0", "t1", "t2"]
    assert words_of(page, "halo", 1) == ["halo"] * 3
    # Before the barrier nothing stands below its line.
    assert page.locator(".barrier.closed").count() == 2
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert "all 15 threads have arrived at the barrier" in sentence(page)
    assert page.locator(".barrier.open.hot").count() == 2
    page.keyboard.press("End")
    assert words_of(page, "halo", 2) == ["t0", "t1", "t2", "12–14", "13–14", "14"]
    page.keyboard.press("ArrowLeft")
    assert "read weights[3]" in sentence(page)
    page.screenshot(path=screenshots() / "stepper_right.png")


def test_playing(show):
    page = show(right=conv1d())
    page.locator(".stepper").focus()
    page.keyboard.press("Space")  # from the end it begins anew
    expect(page.locator(".count")).to_have_text("step 2 of 16", timeout=10_000)
    page.keyboard.press("Space")
    stopped = page.locator(".count").inner_text()
    page.wait_for_timeout(1200)
    assert page.locator(".count").inner_text() == stopped


def test_arrows_show_only_what_is_pointed_at(show):
    page = show(right=conv1d())
    arrows = page.locator(".arrows path")
    assert arrows.count() == 0
    page.locator(".cell.halo").first.hover()  # tile[15]: input[15] to thread 0, that to the slot, and its three readers
    assert arrows.count() == 5
    assert "tile[15] of block 0" in page.locator(".detail").inner_text()
    assert "from input[15] · written by thread 0" in page.locator(".detail").inner_text()
    page.mouse.move(5, 5)
    assert arrows.count() == 0
    page.get_by_label("Follow").select_option("block 1, thread 12")
    assert arrows.count() > 0
    assert "block 1, thread 12 · writes output[27]" in page.locator(".detail").inner_text()
    page.locator(".stepper").focus()
    page.keyboard.press("Escape")
    assert arrows.count() == 0


def test_from_a_wrong_output_to_the_thread_and_step_that_made_it(show):
    page = show(wrong=conv1d(block=10))
    page.locator(".stepper").focus()
    page.keyboard.press("Home")
    page.get_by_role("button", name="[8]: Block 0, thread 8 wrote NaN").click()
    assert sentence(page).startswith("Block 0: threads 0–9 write output[0–9].")
    assert page.get_by_label("Follow").input_value() == "0 8"
    assert page.locator(".detail").inner_text().startswith("Block 0, thread 8 wrote NaN to output[8]; NumPy says 6.")
    assert page.locator(".cell.selected").count() == 2  # the thread and the output
    page.locator(".drawing .cell.wrong.never").first.click()
    assert page.locator(".detail").inner_text().startswith("No thread wrote output[20]. Block 2 never ran.")
    assert page.locator(".timeline .mark.alarm").count() == 3  # the steps that read what was never written
    page.screenshot(path=screenshots() / "stepper_block_too_small.png")


def test_a_block_alone_and_another_case(show):
    page = show(right=conv1d(), wrong=conv1d(grid=1))
    assert "block 1 never ran" in page.locator(".remarks").inner_text()  # it opens with what went wrong
    page.get_by_label("Case").select_option("right")
    page.get_by_label("Block", exact=True).select_option("block 1")
    assert page.locator(".drawing .panel").count() == 1
    assert sentence(page) == "Block 1: threads 0–12 write output[15–27]."
    assert page.locator(".count").inner_text() == "step 15 of 15"  # block 1 loads no halo


def test_outputs_of_blocks_that_are_not_drawn_are_not_missing(show):
    page = show(large=vector_addition(100, grid=25, block=4))
    assert page.locator(".drawing .panel").count() == 8
    assert page.locator(".drawing .cell.right").count() == 100
    assert page.locator(".drawing .cell.right.elsewhere").count() == 68
    assert page.locator(".drawing .cell.wrong").count() == 0
    page.locator(".drawing .cell.right.elsewhere").last.hover()
    assert "output[99]" in page.locator(".detail").inner_text()
    assert "written by a block that is not drawn" in page.locator(".detail").inner_text()


def test_a_block_that_did_nothing_stands_at_the_end_of_the_launch(show, tmp_path):
    page = show(idle=vector_addition(grid=3))
    page.get_by_label("Block", exact=True).select_option("block 2")
    assert sentence(page) == "There is no step to show: no thread read or wrote anything."
    open_page_of(page, tmp_path, vector_addition(100, grid=9), blocks=[8])
    assert sentence(page) == "There is no step to show: no thread read or wrote anything."
    assert page.locator(".drawing .cell.right.elsewhere").count() == 100


def test_outside_of_an_array_and_a_fault(show):
    page = show(outside=conv1d(block=16))
    assert page.locator(".drawing .cell.outside").all_text_contents() == ["[18]t15"]
    page = show(both=conv1d(block=20))  # of block 0, above its barrier who wrote, below it who read, or tried to
    below = ["[18]t15–18", "[19]t16–19", "[20]t17–19", "[21]t18–19", "[22]"]
    assert page.locator(".drawing .cell.outside").all_text_contents()[:7] == ["[18]t18", "[19]t19", *below]
    page = show(fault=vector_addition(told_size=20))
    assert "thread 1 tries to read lhs[17]. The launch was stopped here." in sentence(page)
    assert page.locator(".drawing .cell.outside").all_text_contents() == ["[17]"]
    assert page.locator(".drawing .cell.thread.fault").all_text_contents() == ["t1"]
    page.screenshot(path=screenshots() / "stepper_fault.png")


OVERFLOWING = """cells => cells.flatMap((cell) => {
    const box = cell.querySelector("rect").getBBox();
    return [...cell.querySelectorAll("text")].filter((text) => text.textContent).filter((text) => {
        const { x, width } = text.getBBox();
        return x < box.x + 2 || x + width > box.x + box.width - 2;
    }).map((text) => text.textContent);
})"""


@pytest.mark.parametrize("launch", [{"grid": 3, "block": 10}, {"block": 20}], ids=["never", "outside"])
def test_words_stay_in_their_slots_where_these_are_narrowest(show, page, launch):
    page.set_viewport_size({"width": 660, "height": 1000})
    page = show(wrong=conv1d(**launch))
    assert page.locator(".drawing .cell").evaluate_all(OVERFLOWING) == []


def test_a_picture_that_is_wider_than_the_page(show, page):
    """It scrolls by itself, and by keys; what need not be out of sight is in sight."""
    page.set_viewport_size({"width": 660, "height": 1000})
    page = show(wrong=conv1d(grid=3, block=10))
    weights = page.locator(".drawing text", has_text="weights").evaluate_all(
        "texts => texts.map((text) => text.getBoundingClientRect().right)"
    )
    assert max(weights[2:4]) < 500  # of block 1: before its tile, as there would be no room after it

    scrolled = "document.querySelector('.drawing').scrollLeft"
    assert page.evaluate(scrolled) == 0
    page.locator(".slide input").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"{scrolled} > 0")
    assert page.locator(".count").inner_text() == "step 16 of 16"
    page.evaluate(f"{scrolled} = 0")
    page.get_by_label("Follow").select_option("block 2, thread 5")
    assert page.evaluate(scrolled) > 0


def test_keys_scroll_the_source_where_it_has_the_focus(show):
    page = show(right=conv1d())
    source = page.locator(".source pre")
    source.focus()
    source.evaluate("node => { node.scrollTop = 0; }")  # it may stand at its end, where the last step's line is
    page.keyboard.press("ArrowDown")
    page.wait_for_function("document.querySelector('.source pre').scrollTop > 0")
    assert page.locator(".count").inner_text() == "step 16 of 16"


def test_a_race_is_joined(page, tmp_path):
    racecheck = Racecheck()
    view = copy(
        grid=1, block=64, count=64, body="st.shared.b32 [%r8], %r9;\nxor.b32 %r8, %r8, 128;", observers=[racecheck]
    )
    open_page_of(page, tmp_path, view)
    assert page.locator(".races path").count() == page.locator(".races rect").count() == 1
    assert "Race: thread" in page.locator(".remarks").inner_text()


SPEED = """async () => {
    const slider = document.querySelector(".slide input");
    const times = [];
    for (let number = 0; number < 200; number++) {
        slider.value = (number * 7) % (Number(slider.max) + 1);
        const start = performance.now();
        slider.dispatchEvent(new Event("input"));
        document.querySelector(".drawing svg").getBoundingClientRect();  // makes the browser lay it out
        times.push(performance.now() - start);
        await new Promise(requestAnimationFrame);
    }
    return times;
}"""


def test_how_long_a_step_of_the_slider_takes(show, capsys):
    times = show(right=conv1d()).evaluate(SPEED)
    with capsys.disabled():
        worst = statistics.quantiles(times, n=20)[-1]
        print(f"\nA step of the slider: median {statistics.median(times):.1f} ms, 95% within {worst:.1f} ms")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_follows_the_theme(show, page, theme):
    page.emulate_media(color_scheme=theme)
    page = show(right=conv1d())
    ground, ink = page.locator(".stepper").evaluate(
        "node => [getComputedStyle(node).backgroundColor, getComputedStyle(node).color]"
    )
    assert (brightness(ground) < brightness(ink)) == (theme == "dark")
    title = page.get_by_role("heading", name="p17: ")
    assert (brightness(title.evaluate("node => getComputedStyle(node).color")) > 3 * 128) == (theme == "dark")
    page.screenshot(path=screenshots() / f"stepper_page_{theme}.png")


def brightness(colour):
    return sum(map(float, colour[colour.index("(") + 1 : -1].split(",")[:3]))


CONTRASTS = """() => {
    const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const mixed = (colour) => {
        context.fillStyle = colour;
        context.fillRect(0, 0, 1, 1);
        return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const linear = (part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4);
    const luminance = ([red, green, blue]) => 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
    const contrast = (one, other) => {
        const [low, high] = [luminance(mixed(one)), luminance(mixed(other))].sort((a, b) => a - b);
        return (high + 0.05) / (low + 0.05);
    };
    const isSolid = (colour) => !/url|none|rgba\\(0, 0, 0, 0\\)/.test(colour);
    const stepper = document.querySelector(".stepper"), style = (node) => getComputedStyle(node);
    const around = [style(stepper).backgroundColor, style(document.querySelector(".panel")).fill];
    const found = [];
    const note = (node, ink, grounds) => {
        if (!node.textContent.trim()) return;
        const size = parseFloat(style(node).fontSize), lowest = Math.min(...grounds.map((one) => contrast(ink, one)));
        found.push([`${node.parentNode.getAttribute("class")} ${node.getAttribute("class")}`, lowest, size]);
    };
    for (const text of stepper.querySelectorAll("svg text")) {
        const box = text.parentNode.querySelector(":scope > rect");
        note(text, style(text).fill, box && isSolid(style(box).fill) ? [style(box).fill] : around);
    }
    const words = "span, button, li, code, label, .sentence div, .detail, .file, .note, .ptx div";
    for (const node of stepper.querySelectorAll(words)) {
        let ground = node;
        while (!isSolid(style(ground).backgroundColor)) ground = ground.parentElement;
        note(node, style(node).color, [style(ground).backgroundColor]);
    }
    return found;
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_is_large_enough_and_stands_out_from_its_ground(show, page, theme):
    page.emulate_media(color_scheme=theme)
    page = show(wrong=conv1d(block=10))
    page.locator(".stepper").focus()
    for key in ("End", "Home", *["ArrowRight"] * 5):
        page.keyboard.press(key)
        for name, contrast, size in page.evaluate(CONTRASTS):
            assert contrast >= 4.5, f"{name}: {contrast:.2f}; WCAG's level AA wants 4.5"
            assert size >= 10, f"{name}: {size} pixels"


CELL = """import sys
sys.path[:0] = {path!r}
from launches import case_of, conv1d
from workbook.puzzles import find_puzzle
from workbook.stepper.widget import StepperWidget
puzzle = find_puzzle("p17")
cases = {{"wrong": case_of(conv1d(grid=1), input_size=28, conv_size=4)}}
StepperWidget(puzzle, puzzle.solution_file.read_text(), cases)"""


def test_in_jupyterlab(lab, page: Page, checkout):
    """Light and dark; keys go to the stepper and not to the notebook; the lines of the source arrive by themselves."""
    code = CELL.format(path=[str(TESTS.parent), str(TESTS)])
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    (checkout / "notebooks" / "stepper.ipynb").write_text(json.dumps(notebook))
    page.goto(f"{lab}/lab/tree/notebooks/stepper.ipynb")
    page.wait_for_function(READY, timeout=120_000)
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
    stepper = page.locator(".stepper")
    stepper.locator(".drawing svg").wait_for(timeout=60_000)
    assert "block 1 never ran" in stepper.locator(".remarks").inner_text()
    assert brightness(stepper.evaluate("node => getComputedStyle(node).backgroundColor")) > 3 * 200
    page.screenshot(path=screenshots() / "stepper_lab_light.png")

    stepper.locator(".line.current", has_text="output[global_i] = total").wait_for(timeout=120_000)
    stepper.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert sentence(page) == "Block 0: threads 0–14 read input[0–14]."
    assert "tile[local_i] = input[global_i]" in stepper.locator(".line.current").inner_text()
    page.keyboard.press("ArrowDown")
    assert stepper.evaluate("node => node.contains(document.activeElement)")

    page.evaluate("jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
    page.wait_for_function("document.body.dataset.jpThemeLight === 'false'")
    ground = stepper.evaluate("node => getComputedStyle(node).backgroundColor")
    assert brightness(ground) < 3 * 60
    page.screenshot(path=screenshots() / "stepper_lab_dark.png")
