"""The stepper as a widget for JupyterLab, and as one file for any browser."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from workbook.language import _, language
from workbook.stepper.data import Json

FOLDER = Path(__file__).parent


class StepperWidget(anywidget.AnyWidget):
    """Draws launches in the browser; `data` is what `stepper_data` gives."""

    _esm = FOLDER / "stepper.js"
    _css = FOLDER / "stepper.css"
    data = traitlets.Dict().tag(sync=True)


def stepper_data(launches: Mapping[str, Json], selected: int = 0) -> Json:
    """What the front end is given: launches by the names of their cases, and its texts in the language of this
    process."""
    return {
        "strings": strings(),
        "selected": selected,
        "launches": [{"name": name, **launch} for name, launch in launches.items()],
    }


def page(data: Json, title: str) -> str:
    """The stepper as an HTML file of its own: it asks nothing of a network or of Jupyter."""
    # In a script, "</" would end it.
    content = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
    return f"""<!doctype html>
<html lang="{language()}">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{escape(title)}</title>
<style>
{(FOLDER / "stepper.css").read_text()}
body {{ margin: 0; }}
h1 {{ font-size: 18px; margin: 4px 0 10px; }}
</style>
<body>
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
        "hint": _("Point at a thread or a cell to see its arrows; click to keep them."),
        "wrong_outputs": _("Wrong or missing, click to see who made it:"),
        "more": _("and {count} more"),
        "grid": _("grid"),
        "threads": _("threads"),
        "numpy": _("NumPy"),
        "barrier": _("barrier"),
        "barrier_of": _("barrier {number} of {count}"),
        "no_barrier": _("no barrier"),
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
        "idle": _("idle: a thread that stores no result"),
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
        "numpy_says": _("NumPy says {value}"),
        "reads": _("reads {element}: {value}"),
        "writes": _("writes {element}: {value}"),
        "ptx": _("PTX line {line}: {text}"),
    }
