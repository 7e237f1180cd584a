"""The stepper as a widget for JupyterLab, and as one file for any browser."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from threading import Thread
from typing import Any

import anywidget
import traitlets
from IPython.display import display
from ipywidgets import Widget

from workbook.language import _, language
from workbook.pictures.figure import figure
from workbook.pictures.launch_view import LaunchView, UnknownBlock, describe, telling
from workbook.puzzles import Puzzle
from workbook.running.lines import NoLines, build_lines, find_lines, op_text_of
from workbook.stepper.data import Json, launch_data
from workbook.stepper.source import source_data
from workbook.verdict import CaseResult

FOLDER = Path(__file__).parent

Cases = Mapping[str, CaseResult]
"""Cases that launched something, by the names that the learner sees."""


class StepperWidget(anywidget.AnyWidget):
    """Draws launches in the browser. The data is sent once; the lines of the source follow when they are known."""

    _esm = FOLDER / "stepper.js"
    _css = FOLDER / "stepper.css"
    data = traitlets.Dict().tag(sync=True)
    sources: traitlets.List = traitlets.List().tag(sync=True)

    def __init__(self, puzzle: Puzzle, text: str, cases: Cases, blocks: Sequence[int] | None = None):
        """`text` is the attempt that was run. `blocks` chooses the blocks to draw, by their linear indices."""
        self._attempt = (puzzle, text, cases)
        super().__init__(data=stepper_data(cases, blocks), sources=sources(*self._attempt))
        self.on_msg(self._answer)
        if not _all_known(*self._attempt):
            Thread(target=self._look_up_lines, daemon=True).start()

    def _look_up_lines(self) -> None:
        try:
            look_up_lines(*self._attempt)
        finally:  # whatever went wrong: nobody waits for lines that do not come
            self.sources = sources(*self._attempt, is_final=True)

    def _answer(self, widget: object, asked: Json, buffers: object) -> None:
        """The learner asks for another block of a large launch."""
        name, case = list(self._attempt[2].items())[asked["launch"]]
        try:
            launch = _launch(name, case, [asked["block"]])
        except UnknownBlock as error:
            self.send({"refused": str(error)})
        else:
            self.send({"number": asked["launch"], "launch": launch})

    def _ipython_display_(self) -> None:
        display_with_still(self, _views(self._attempt[2])[self.data["selected"]])


def display_with_still(widget: Widget, view: LaunchView) -> None:
    """Display a widget, and before it a still picture, for where the notebook is shown without a kernel: in an export,
    or on a web page. The style sheet hides it where the widget itself stands below it."""
    png = io.BytesIO()
    figure(view).savefig(png, format="png", dpi=100)
    still = {"image/png": base64.b64encode(png.getvalue()).decode(), "text/plain": describe(view)}
    display(still, metadata={"image/png": {"alt": describe(view)}}, raw=True)
    content: Any = widget._repr_mimebundle_()
    content, metadata = content if isinstance(content, tuple) else (content, {})
    display({**content, "text/plain": describe(view)}, metadata=metadata, raw=True)


def stepper_data(cases: Cases, blocks: Sequence[int] | None = None) -> Json:
    """What the front end is given: launches, and its texts in the language of this process. It opens with the launch
    that has most to tell."""
    views = dict(zip(cases, _views(cases), strict=True))
    return {
        "strings": strings(),
        "selected": list(views).index(telling(views)),
        "launches": [_launch(name, case, blocks) for name, case in cases.items()],
    }


def _launch(name: str, case: CaseResult, blocks: Sequence[int] | None) -> Json:
    assert case.view is not None
    return {"name": name, **launch_data(case.view, case.inputs, blocks)}


def _views(cases: Cases) -> list[LaunchView]:
    return [case.view for case in cases.values() if case.view is not None]


# The lines of the source


def sources(puzzle: Puzzle, text: str, cases: Cases, is_final: bool = False) -> list[Json]:
    """The source beside each launch, with what is known of its lines."""
    op_text = op_text_of(puzzle, text)
    return [source_data(puzzle, op_text, view.trace, is_final) for view in _views(cases)]


def look_up_lines(puzzle: Puzzle, text: str, cases: Cases) -> None:
    """Find out the lines of all launches that are not known yet, as far as that is possible."""
    if not _all_known(puzzle, text, cases):
        with suppress(NoLines):  # the stepper says that there are none
            build_lines(puzzle, op_text_of(puzzle, text), list(cases.values()))


def _all_known(puzzle: Puzzle, text: str, cases: Cases) -> bool:
    op_text = op_text_of(puzzle, text)
    return all(find_lines(view.trace, op_text) is not None for view in _views(cases))


# A file of its own


def page(puzzle: Puzzle, text: str, cases: Cases) -> str:
    """The stepper as an HTML file of its own: it asks nothing of a network or of Jupyter. May take 10 s, while the
    lines of the source are looked up."""
    look_up_lines(puzzle, text, cases)
    data = stepper_data(cases) | {"sources": sources(puzzle, text, cases, is_final=True)}
    return page_of(data, f"{puzzle.id}: {_(puzzle.title)}")


def page_of(data: Json, title: str) -> str:
    """The page that draws some data."""
    # In a script, "</" would end it.
    content = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
    return f"""<!doctype html>
<html lang="{language()}">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{escape(title)}</title>
<style>
{(FOLDER / "stepper.css").read_text()}
:root {{ color-scheme: light dark; }}
body {{ margin: 0; }}
h1 {{ font: 600 18px/1.4 system-ui, sans-serif; max-width: 1700px; margin: 6px auto 0; padding: 0 8px; }}
</style>
<body>
<h1>{escape(title)}</h1>
<div id="stepper" class="page"></div>
<script type="application/json" id="data">{content}</script>
<script type="module">
{(FOLDER / "stepper.js").read_text()}
const dark = matchMedia("(prefers-color-scheme: dark)");
const root = document.getElementById("stepper");
const theme = () => {{
  root.dataset.theme = dark.matches ? "dark" : "light";
  document.body.style.background = dark.matches ? "#0d1117" : "#ffffff";
}};
dark.addEventListener("change", theme);
theme();
mount(root, JSON.parse(document.getElementById("data").textContent));
</script>
</body>
</html>
"""


def strings() -> dict[str, Any]:
    """The texts of the front end."""
    return {
        "stepper": _("What the launch did, step by step"),
        "case": _("Case"),
        "block": _("Block"),
        "all_blocks": _("all blocks"),
        "other_block": _("another block"),
        "follow": _("Follow"),
        "nobody": _("no thread"),
        "thread_of": _("{block}, thread {thread}"),
        "first": _("To the beginning (Home)"),
        "back": _("One step back (left arrow)"),
        "play": _("Play (space)"),
        "pause": _("Pause (space)"),
        "on": _("One step on (right arrow)"),
        "last": _("To the end (End)"),
        "step_slider": _("Step"),
        "count": _("step {step} of {steps}"),
        "before": _("Before the first step: no thread has read or written anything."),
        "nothing": _("There is no step to show: no thread read or wrote anything."),
        "hint": _("Point at a thread or a cell to see its arrows; click to keep them."),
        "more": _("and {count} more"),
        "grid": _("grid"),
        "threads": _("threads"),
        "numpy": _("NumPy"),
        "barrier": _("barrier"),
        "barrier_of": _("barrier {number} of {count}"),
        "written_row": _("written by thread"),
        "read_row": _("read by threads"),
        "own": _("own"),
        "halo": _("halo"),
        "zero": _("zero"),
        "other": _("other"),
        "never": _("never"),
        "own_long": _("own load"),
        "halo_long": _("halo load"),
        "zero_long": _("zero fill"),
        "other_long": _("other store"),
        "never_long": _("never written"),
        "wrong_output": _("wrong or missing output"),
        "overwritten": _("an input that was written to"),
        "outside": _("outside"),
        "race": _("race"),
        "mark_load_global": _("reads global memory"),
        "mark_load_shared": _("reads shared memory"),
        "mark_store": _("writes"),
        "mark_barrier": _("barrier"),
        "slot_of": _("{slot} of {block}"),
        "from": _("from {element}"),
        "written_by": _("written by thread {thread}"),
        "read_by": _("read by threads {threads}"),
        "never_yet": _("not written yet"),
        "elsewhere": _("written by a block that is not drawn"),
        "numpy_says": _("NumPy says {value}"),
        "reads": _("reads {element}: {value}"),
        "writes": _("writes {element}: {value}"),
        "ptx": _("PTX line {line}: {text}"),
    }
