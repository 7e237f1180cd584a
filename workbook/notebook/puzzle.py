"""A puzzle in a notebook: the `%%fill` cell, and one-line cells that check, draw, hint and reveal."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from IPython.core.getipython import get_ipython
from IPython.display import HTML, display
from matplotlib.figure import Figure

from workbook import attempts, rooms
from workbook.check import Progress, check_at_once, check_op
from workbook.devices import default_device, devices_for_check
from workbook.execution import Execution
from workbook.language import _
from workbook.lint.launch import is_attempted
from workbook.notebook import vector_widths
from workbook.notebook.rendering import folded_html, message_html, source_html, text_html, verdict_html
from workbook.pictures.figure import figure
from workbook.pictures.launch_view import UnknownBlock, telling
from workbook.puzzles import Puzzle, UnknownPuzzle, find_puzzle
from workbook.region import RegionError, read_region
from workbook.stepper.widget import StepperWidget, page
from workbook.verdict import FAILED, NOT_ATTEMPTED, STOPPED, CaseResult, Verdict, launched_cases
from workbook.worker import STAGES, Worker, WorkerLost


class Interrupted(Exception):
    """Ends the cell, and with it a Run All, without a traceback: what there is to say has been shown."""

    def _render_traceback_(self) -> list[str]:
        return []


class NotebookPuzzle:
    """What a notebook does with its puzzle. Each method is meant to be a cell of its own."""

    def __init__(self, puzzle: Puzzle):
        self.puzzle = puzzle
        self.verdict: Verdict | None = None
        self._checked_text = ""
        self._filled = ""  # what this notebook put into the file last
        self._workers: tuple[Worker, ...] = ()

    def warm(self) -> None:
        """Start the worker processes, so that they are warm when the first attempt comes."""
        if not self._workers:
            self._workers = tuple(
                Worker(device) for device in devices_for_check(default_device(), self.puzzle.also_on_cpu)
            )

    def fill(self, code: str) -> None:
        """Put code into the learner's file, and check it. This is what the cell `%%fill` does."""
        try:
            in_file = attempts.read_attempt(self.puzzle)
            if is_attempted(code):
                attempts.write_attempt(self.puzzle, code)
                if is_attempted(in_file) and in_file not in (self._filled, attempts.read_attempt(self.puzzle)):
                    text = _("The file had other code; it is kept in {folder}.")
                    self._say(text.format(folder=attempts.history_folder(self.puzzle)))
                self._filled = attempts.read_attempt(self.puzzle)
            elif is_attempted(in_file):
                text = _("This cell is still empty, but {file} has code: it is kept, and checked by p.check().")
                self._say(text.format(file=self.puzzle.problem_name))
                return
        except RegionError as error:
            self._say(str(error), FAILED)
            return
        self.check()

    def check(self, seed: int | None = None) -> None:
        """Check the learner's file on all sizes. An unchanged file is not run again, unless a seed is given."""
        try:
            text = attempts.take_attempt(self.puzzle)
        except RegionError as error:
            self._say(str(error), FAILED)
            return
        if seed is None and self.verdict is not None and text == self._checked_text:
            display(HTML(verdict_html(self.verdict)))
            return
        verdict = check_at_once(self.puzzle, text)
        self.verdict = verdict or self._run(text, seed)
        self._checked_text = text if self.verdict.outcome != STOPPED else ""
        if verdict is not None:
            display(HTML(verdict_html(verdict)))

    def picture(self, blocks: Sequence[int] | None = None) -> StepperWidget | None:
        """What the learner's launches did, to look at, to play and to step through. `blocks` chooses those of a large
        launch that are drawn, by their numbers."""
        cases = self._launched_cases()
        if not cases:
            return None
        try:
            return StepperWidget(self.puzzle, self._checked_text, cases, blocks)
        except UnknownBlock as error:
            self._say(str(error), FAILED)
            return None

    def export(self, file: str = "attempt.html") -> None:
        """Write the picture of the learner's launches as one file that opens in any browser."""
        path = Path(file).resolve()
        cases = self._launched_cases()
        if cases and not path.parent.is_dir():
            self._say(_("There is no folder {folder} to write to.").format(folder=path.parent), FAILED)
        elif cases:
            path.write_text(page(self.puzzle, self._checked_text, cases))
            self._say(_("Written: {file}. It opens in any browser, without Jupyter.").format(file=f"`{path}`"))

    def figure(self, case: int | None = None, block: int | None = None) -> Figure | None:
        """The picture of one case (numbered from 0; else the one that has most to tell) as a matplotlib figure, to keep
        or to print."""
        views = self._views()
        if not views:
            return None
        if case is not None and case not in range(len(views)):
            text = _("There is no case {case}: they are numbered from 0 to {last}.")
            self._say(text.format(case=case, last=len(views) - 1), FAILED)
            return None
        view = views[telling(views)] if case is None else list(views.values())[case]
        try:
            return figure(view, block)
        except UnknownBlock as error:
            self._say(str(error), FAILED)
            return None

    def kernel(self) -> HTML:
        """The finished kernel."""
        assert self.puzzle.kernel_file is not None
        return HTML(source_html(self.puzzle.kernel_file.read_text(), f"kernels/{self.puzzle.kernel_module}.mojo"))

    def op(self) -> HTML:
        """The learner's file as it stands."""
        return HTML(source_html(self.puzzle.problem_file.read_text(), self.puzzle.problem_name))

    def program(self) -> HTML:
        """The Python side of the puzzle."""
        name = str(self.puzzle.python_file.relative_to(rooms.ROOT))
        return HTML(source_html(self.puzzle.python_file.read_text(), name))

    def hint(self) -> HTML:
        """The hints, each one folded: they help more when one asks for them one at a time."""
        hints = self.puzzle.hints
        title = _("Hint {number} of {count}")
        return HTML(
            "".join(
                folded_html(title.format(number=number, count=len(hints)), text_html(_(hint)))
                for number, hint in enumerate(hints, 1)
            )
        )

    def reveal(self) -> HTML:
        """A solution, folded, and why it is so."""
        solution = read_region(self.puzzle.solution_file.read_text()).code
        attempted = self.verdict is not None and self.verdict.outcome != NOT_ATTEMPTED
        title = (
            _("A solution")
            if attempted
            else _("A solution (you have not tried yet: it is worth more after an attempt)")
        )
        return HTML(folded_html(title, source_html(solution) + text_html(_(self.puzzle.explanation))))

    def reset(self) -> None:
        """Empty the region again. What it held is kept in the history."""
        attempts.reset(self.puzzle)
        self.verdict = None
        text = _("{file} is as it was at first. Your versions are in {folder}.")
        self._say(text.format(file=self.puzzle.problem_name, folder=attempts.history_folder(self.puzzle)))

    def vector_widths(self) -> None:
        """How `foreach` divides the work on each device: runs the learner's op with a function that gives back its
        width."""
        if self.verdict is None or not self.verdict.passed:
            self._say(_("This runs your own op: it is shown once your call of `foreach` has passed its check."))
            return
        text = vector_widths.probe(self._checked_text)
        found: list[Execution] = []

        def run(progress: Progress) -> str:
            for worker in self._workers:
                found.append(worker.run(self.puzzle.id, text, 0, progress))
            if not all(map(vector_widths.are_widths, found)):
                return message_html(_("This works only if `foreach` is called with the function that the file offers."))
            return vector_widths.widths_html(self.puzzle, found)

        self._watch(run)

    def _run(self, op_text: str, seed: int | None) -> Verdict:
        """Run the attempt in the worker."""
        found: list[Verdict] = []

        def run(progress: Progress) -> str:
            found.append(check_op(self.puzzle, op_text, self._workers, progress, seed))
            return verdict_html(found[0])

        stopped = self._watch(run)
        return stopped or found[0]

    def _watch(self, run: Callable[[Progress], str]) -> Verdict | None:
        """Run something in the workers, showing progress where its result will stand; the verdict if it was stopped."""
        self.warm()
        start = time.monotonic()
        place = display(HTML(""), display_id=True)

        def progress(stage: str) -> None:
            text = _("{seconds:.0f} s: {stage} …").format(seconds=time.monotonic() - start, stage=_(STAGES[stage]))
            place.update(HTML(message_html(text)))

        try:
            place.update(HTML(run(progress)))
        except WorkerLost as error:
            verdict = Verdict(self.puzzle.id, STOPPED, str(error))
            place.update(HTML(verdict_html(verdict)))
            return verdict
        except KeyboardInterrupt:
            text = _("You interrupted the attempt. A new worker is starting; run the cell again when you like.")
            place.update(HTML(verdict_html(Verdict(self.puzzle.id, STOPPED, text))))
            raise Interrupted from None
        return None

    def _views(self) -> dict[str, Any]:
        """The launches to draw, by the names of their cases; says why where there are none."""
        return {name: case.view for name, case in self._launched_cases().items()}

    def _launched_cases(self) -> dict[str, CaseResult]:
        """The cases with a launch to draw, by their names; says why where there are none."""
        verdict = self.verdict
        if verdict is None or verdict.outcome == NOT_ATTEMPTED:
            self._say(
                _("There is no launch to draw yet: fill in the `%%fill` cell and run it, then run this cell again.")
            )
            return {}
        cases = launched_cases(verdict)
        if verdict.outcome == STOPPED:
            self._say(_("The last attempt was stopped, so there is nothing to draw."))
        elif not cases and verdict.cases and not any(case.recorded for case in verdict.cases):
            self._say(_("The software GPU draws the pictures, and it runs on Linux x86-64 only."))
        elif not cases:
            self._say(_("Nothing was launched in the last attempt, so there is nothing to draw."))
        return cases

    def _say(self, text: str, kind: str = NOT_ATTEMPTED) -> None:
        display(HTML(message_html(text, kind)))


_open: dict[str, NotebookPuzzle] = {}


def open_puzzle(id: str) -> NotebookPuzzle:
    """The puzzle of a notebook, its worker starting. Also makes the cell magic `%%fill` known."""
    if id not in _open:
        _open[id] = _make_puzzle(find_puzzle(id))
        _open[id].warm()
    shell = get_ipython()
    if shell is not None:
        shell.register_magic_function(_fill_magic, "cell", "fill")  # type: ignore[arg-type]  # its stub is wrong
    return _open[id]


def _make_puzzle(puzzle: Puzzle) -> NotebookPuzzle:
    if puzzle.fills == "torch":
        from workbook.pytorch.notebook import TorchPuzzle  # which is a NotebookPuzzle of its own kind

        return TorchPuzzle(puzzle)
    return NotebookPuzzle(puzzle)


def _fill_magic(line: str, cell: str) -> None:
    """`%%fill p17`: the rest of the cell goes into problems/p17/op.mojo, and is checked."""
    try:
        puzzle = open_puzzle(line.strip())
    except UnknownPuzzle as error:
        text = _("The first line of the cell must name the puzzle, as in `%%fill p17`. {problem}").format(problem=error)
        display(HTML(message_html(text, FAILED)))
        return
    puzzle.fill(cell)
