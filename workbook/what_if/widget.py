"""The explorer: sliders for the sizes and the launch, the prediction for them, and what really happens beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html import escape
from itertools import product
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import anywidget
import ipywidgets as widgets
import traitlets
from IPython.display import display

from workbook.language import N_, _
from workbook.notebook.rendering import message_html
from workbook.notebook.waiting import Cancelled, Waiting
from workbook.pictures.launch_view import LaunchView, UnknownBlock
from workbook.puzzles import Puzzle, SizeRange
from workbook.running.durations import SAID, Estimate
from workbook.running.execution import Progress
from workbook.running.worker import WorkerLost
from workbook.stepper.data import Json, launch_data
from workbook.stepper.widget import FOLDER as STEPPER
from workbook.stepper.widget import display_with_still, strings
from workbook.verdict import FAILED, PASSED, STOPPED
from workbook.what_if.comparison import agreement, counts, differences, in_a_sentence, is_right
from workbook.what_if.plan import Choice, Prediction, example_inputs, needed_blocks, predict
from workbook.what_if.run import RunOfChoice

Run = Callable[[Choice, Progress], RunOfChoice]
"""Launches a choice for real. Raises WorkerLost."""

STYLE = Path(__file__).with_name("what_if.css")


class BadNumber(ValueError):
    """A number that cannot be chosen; the message says which can."""


class Explorer(widgets.VBox):
    """Moving a slider draws the prediction anew; a button runs the launch."""

    def __init__(self, puzzle: Puzzle, run: Run, devices: Sequence[str], chosen: Mapping[str, int] | None = None):
        """`puzzle` is the one whose solution is launched, by `run` on `devices`. `chosen` are numbers to begin with, by
        the names of the sliders. Raises BadNumber."""
        assert puzzle.what_if is not None
        self.puzzle, self.devices = puzzle, devices
        self._run = run
        self._results: dict[Choice, RunOfChoice] = {}
        self._drawn: tuple[Choice, RunOfChoice | None] | None = None
        self._drawing = Lock()  # sliders move while something runs
        self.message = widgets.HTML()
        ranges = {**puzzle.what_if.sizes, **_launch_ranges(puzzle)}
        _examine(chosen or {}, ranges)
        self.numbers = {name: Number(name, numbers, self._complain) for name, numbers in ranges.items()}
        for name, number in (chosen or {}).items():
            self.numbers[name].value = number
        self.enough = widgets.Checkbox(
            value="blocks" not in (chosen or {}), description=_("as many as the data needs"), indent=False
        )
        self.summary = widgets.HTML()
        self.predicted = Picture(_("Predicted"))
        self.button = widgets.Button(description=_("Run it"), icon="play", button_style="primary")
        self.progress = widgets.VBox()
        self.happened = Picture(_("What happened"))
        self.comparison = widgets.HTML()
        super().__init__(
            [
                *(self._row(name, number) for name, number in self.numbers.items()),
                self.message,
                self.button,
                self.progress,
                self.comparison,
                self.summary,
                self.predicted,
                self.happened,
            ]
        )
        self.add_class("what-if")
        self._follow()
        for number in self.numbers.values():
            number.observe(self._moved, names="value")
        self.enough.observe(self._moved, names="value")
        self.button.on_click(lambda button: Thread(target=self.run, daemon=True).start())
        self._draw()

    @property
    def choice(self) -> Choice:
        what_if = self.puzzle.what_if
        assert what_if is not None
        sizes = {name: self.numbers[name].value for name in what_if.sizes}
        threads = self.numbers["threads"].value if "threads" in self.numbers else what_if.threads.start
        blocks = self.numbers["blocks"].value if "blocks" in self.numbers else None
        blocks = needed_blocks(self.puzzle, sizes, threads) if blocks is None else blocks
        return Choice(tuple(sizes.items()), blocks, threads)

    def _row(self, name: str, number: Number) -> widgets.Widget:
        return widgets.HBox([number, self.enough]) if name == "blocks" else number

    def _ipython_display_(self) -> None:
        view = self.predicted.view
        if view is None:  # nothing to draw: what there is to say stands in the widget
            display(self._repr_mimebundle_(), raw=True)
        else:
            display_with_still(self, replace(view, case=f"{view.case} ({_('predicted')})"))

    # What moves

    def _moved(self, change: Any) -> None:
        choice = self.choice
        if change["owner"] is self.numbers.get("blocks") and choice.blocks != self._needed_blocks():
            self.enough.value = False  # the learner has chosen
        self._follow()
        self._draw()

    def _follow(self) -> None:
        """Let the number of blocks follow from the sizes, until the learner chooses one."""
        if "blocks" in self.numbers and self.enough.value:
            self.numbers["blocks"].value = self._needed_blocks()

    def _needed_blocks(self) -> int:
        return needed_blocks(self.puzzle, self.choice.case, self.choice.threads)

    def _complain(self, text: str) -> None:
        self.message.value = message_html(text, FAILED) if text else ""

    # What is drawn

    def _draw(self) -> None:
        with self._drawing:
            choice = self.choice
            result = self._results.get(choice)
            if self._drawn is not None and self._drawn[0] == choice and self._drawn[1] is result:
                return
            self._drawn = choice, result
            case = result.case if result else None
            inputs = case.inputs if case else example_inputs(self.puzzle, choice)
            prediction = predict(self.puzzle, choice, inputs)
            self.predicted.show(prediction.view, inputs)
            self.happened.show(case.view if case else None, inputs)
            self.summary.value = self._summary(choice, prediction, case.view if case else None)
            self.comparison.value = self._verdict(prediction, result) if result else ""

    def _summary(self, choice: Choice, prediction: Prediction, real: LaunchView | None) -> str:
        """What is wrong with the choice, and the launch in numbers."""
        sentence = in_a_sentence(self.puzzle, choice, prediction)
        text = message_html(sentence, PASSED if is_right(prediction) else FAILED)
        columns = {
            heading: counts(self.puzzle, view)
            for heading, view in {_("predicted"): prediction.view, _("what happened"): real}.items()
            if view is not None
        }
        return text + _table(columns) if columns else text

    def _verdict(self, prediction: Prediction, result: RunOfChoice) -> str:
        """Whether it was as predicted."""
        found = differences(prediction, result, self.puzzle.tolerance)
        if not found:
            return message_html(agreement(result), PASSED)
        found = [_("What happened differs from the prediction."), *found]
        return "".join(message_html(text, FAILED) for text in found)

    # Running

    def run(self) -> None:
        """Launch what is chosen, and show what happens."""
        choice = self.choice
        waiting = Waiting(EstimateOfRun(self.puzzle, self.devices))
        self.button.disabled = True
        self.progress.children = [waiting]
        stopped = ""
        try:
            self._results[choice] = self._run(choice, waiting)
        except Cancelled:
            stopped = _("You stopped the run. A new worker is starting.")
        except WorkerLost as error:
            stopped = str(error)
        except Exception as error:  # it would be lost with the thread
            stopped = f"{type(error).__name__}: {error}"
        finally:
            self.progress.children = [widgets.HTML(message_html(stopped, STOPPED))] if stopped else []
            self.button.disabled = False
            waiting.close()
        self._draw()


class EstimateOfRun(Estimate):
    """How far a run has come: it is not the learner's code that runs."""

    said = SAID | {"precompile": N_("Mojo compiles the launch"), "graph": N_("MAX builds the graph around it")}


class Number(widgets.HBox):
    """A slider, and beside it a field to type the number into."""

    value = traitlets.Int()

    def __init__(self, name: str, numbers: SizeRange, complain: Callable[[str], None]):
        self.name, self.range, self._complain = name, numbers, complain
        self.slider = widgets.IntSlider(
            min=numbers.least,
            max=numbers.most,
            value=numbers.start,
            description=_(LABELS.get(name, name)),
            readout=False,
            style={"description_width": "10em"},
            layout=widgets.Layout(width="32em"),
        )
        self.field = widgets.IntText(value=numbers.start, layout=widgets.Layout(width="5em"))
        super().__init__([self.slider, self.field], value=numbers.start)
        widgets.link((self, "value"), (self.slider, "value"))
        self.slider.observe(self._slid, names="value")
        self.field.observe(self._typed, names="value")

    def _slid(self, change: Any) -> None:
        self._complain("")
        self.field.value = change["new"]

    def _typed(self, change: Any) -> None:
        text = _out_of_range(self.name, change["new"], self.range)
        if not text:
            self._complain("")
            self.slider.value = change["new"]
        else:
            shown = _("The picture still shows {number}.").format(number=self.value)
            self._complain(f"{text} {shown}")


class Picture(widgets.VBox):
    """The place of a launch's drawing, under a title; empty where there is none."""

    children: Sequence[widgets.Widget]

    def __init__(self, title: str):
        super().__init__()
        self.title = title
        self.view: LaunchView | None = None
        self._inputs: Mapping[str, Any] = {}

    def show(self, view: LaunchView | None, inputs: Mapping[str, Any]) -> None:
        self.view, self._inputs = view, inputs
        if view is None:
            before = self.children
            self.children = ()
            for child in before:
                child.close()
        else:
            self.children = self._with(self._launch(view))

    def _with(self, launch: Json) -> Sequence[widgets.Widget]:
        """The title and the drawing, which is kept as it is but for its data."""
        texts = strings() | {"stepper": self.title}
        data = {"strings": texts, "selected": 0, "launches": [launch], "at_end": True}
        if not self.children:
            drawing = Drawing(data=data)
            drawing.on_msg(self._answer)
            return [widgets.HTML(f'<div class="what-if-heading">{escape(self.title)}</div>'), drawing]
        self.children[-1].data = data
        return self.children

    def _launch(self, view: LaunchView, blocks: Sequence[int] | None = None) -> Json:
        return {"name": "", **launch_data(view, self._inputs, blocks)}

    def _answer(self, drawing: Drawing, asked: Json, buffers: object) -> None:
        """The learner asks for another block of a large launch."""
        if self.view is None:
            return  # the sliders were moved meanwhile
        try:
            drawing.send({"number": 0, "launch": self._launch(self.view, [asked["block"]])})
        except UnknownBlock as error:
            drawing.send({"refused": str(error)})


class Drawing(anywidget.AnyWidget):
    """One launch as the stepper draws it, at its end."""

    _esm = STEPPER / "stepper.js"
    _css = (STEPPER / "stepper.css").read_text() + STYLE.read_text()
    data = traitlets.Dict().tag(sync=True)
    sources: traitlets.List = traitlets.List().tag(sync=True)


LABELS = {"threads": N_("threads in a block"), "blocks": N_("blocks in the grid")}


def _launch_ranges(puzzle: Puzzle) -> dict[str, SizeRange]:
    """Of the launch: none where `foreach` chooses it."""
    what_if = puzzle.what_if
    assert what_if is not None
    if puzzle.fills == "foreach":
        return {}
    corners = product(*((each.least, each.most) for each in what_if.sizes.values()))
    needs = [
        needed_blocks(puzzle, dict(zip(what_if.sizes, corner, strict=True)), what_if.threads.least)
        for corner in corners
    ]
    return {"threads": what_if.threads, "blocks": SizeRange(1, max(needs), 1)}


def _examine(chosen: Mapping[str, int], ranges: Mapping[str, SizeRange]) -> None:
    for name, number in chosen.items():
        if name not in ranges:
            text = _("There is no slider `{name}` here. There are: {names}.")
            raise BadNumber(text.format(name=name, names=", ".join(f"`{one}`" for one in ranges)))
        if not isinstance(number, int):
            raise BadNumber(_("`{name}` must be a whole number, not {number!r}.").format(name=name, number=number))
        text = _out_of_range(name, number, ranges[name])
        if text:
            raise BadNumber(text)


def _out_of_range(name: str, number: int, numbers: SizeRange) -> str:
    """Why a number cannot be chosen; empty if it can."""
    if numbers.least <= number <= numbers.most:
        return ""
    text = _("`{name}` cannot be {number} here: choose a number from {least} to {most}.")
    return text.format(name=name, number=number, least=numbers.least, most=numbers.most)


def _table(columns: Mapping[str, Mapping[str, str]]) -> str:
    """Rows of counts; those in which the columns differ are marked."""
    head = "".join(f"<th>{escape(heading)}</th>" for heading in columns)
    rows = ""
    for name in next(iter(columns.values())):
        cells = [column.get(name, "") for column in columns.values()]
        differs = ' class="differs"' if len(set(cells)) > 1 else ""
        rows += f"<tr{differs}><th>{_code(name)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
    return f'<table class="what-if-counts"><tr><th></th>{head}</tr>{rows}</table>'


def _code(text: str) -> str:
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if number % 2 else piece for number, piece in enumerate(pieces))
