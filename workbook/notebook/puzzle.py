"""A puzzle in a notebook: the `%%fill` cell, and one-line cells that check, draw, hint and reveal."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from IPython.display import HTML, display
from matplotlib.figure import Figure

from workbook import rooms
from workbook.check import check_at_once, check_known, check_op
from workbook.language import _
from workbook.learner import attempts
from workbook.learner.progress import record
from workbook.learner.watch import Saved, look
from workbook.notebook import vector_widths
from workbook.notebook.fill_cell import FillCell
from workbook.notebook.panels import History, Panel, hint_panel, reset_sentence, reveal_panel
from workbook.notebook.rendering import message_html, source_html, verdict_html
from workbook.notebook.waiting import Cancelled, Interrupted, Place
from workbook.notebook.watching import Watching
from workbook.pictures.figure import figure
from workbook.pictures.launch_view import UnknownBlock, telling
from workbook.puzzles import Puzzle, find_puzzle
from workbook.region import RegionError
from workbook.running.devices import default_device, devices_for_check
from workbook.running.durations import Estimate
from workbook.running.execution import Execution, Progress
from workbook.running.worker import Worker, WorkerLost
from workbook.stepper.widget import StepperWidget, page
from workbook.verdict import FAILED, NOT_ATTEMPTED, STOPPED, CaseResult, Verdict, launched_cases
from workbook.what_if.forecast import forecast_in_words
from workbook.what_if.plan import Choice
from workbook.what_if.run import RunOfChoice, run_choice
from workbook.what_if.widget import BadNumber, Explorer

Result = TypeVar("Result")


class NotebookPuzzle:
    """What a notebook does with its puzzle. Each method is meant to be a cell of its own."""

    def __init__(self, puzzle: Puzzle):
        self.puzzle = puzzle
        self.verdict: Verdict | None = None
        self._checked_text = ""
        self._cell = FillCell(puzzle)
        self._devices: tuple[str, ...] = ()
        self._workers: tuple[Worker, ...] = ()
        self._given_up: str | None = None  # the text whose check the learner stopped
        self._turns = Lock()
        self._watching: Watching | None = None

    def warm(self) -> None:
        """Start the worker processes, so that they are warm when the first attempt comes."""
        if not self._workers:
            self._devices = devices_for_check(default_device(), self.puzzle.also_on_cpu)
            self._workers = tuple(map(Worker, self._devices))

    def fill(self, code: str) -> None:
        """Put code into the learner's file, and check it. This is what the cell `%%fill` does."""
        with self._turn():
            try:
                is_to_be_checked, told = self._cell.run(code)
                cell_line = self._cell.first_line(code)
            except (RegionError, OSError, UnicodeDecodeError) as error:
                self._say(look(self.puzzle).problem or str(error), FAILED)
                return
            if told:
                self._say(told)
            if is_to_be_checked:
                self._check(look(self.puzzle), Place(), cell_line=cell_line)

    def check(self, seed: int | None = None) -> None:
        """Check the learner's file on all sizes. An unchanged file is not run again, unless a seed is given."""
        with self._turn():
            self._check(look(self.puzzle), Place(), seed)

    def watch(self, on: bool = True) -> None:
        """Check the learner's file by itself whenever it is saved, in whatever editor. `p.watch(False)` ends it."""
        if self._watching is not None:
            self._watching.end()
            self._watching = None
        if not on:
            return
        place = Place()

        def check(saved: Saved, go_on: Callable[[], None]) -> None:
            with self._turns:
                go_on()  # it may have been some time until it was our turn
                if saved.text != self._given_up:
                    self._check(saved, place, go_on=go_on)

        self._watching = Watching(self.puzzle, check, place)
        self._watching.announce()
        now = look(self.puzzle)
        try:
            with self._turn():
                self._check(now, place)  # here, so that the cells below have its verdict
        finally:
            self._watching.start(now)

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

    def explore(self, **chosen: int) -> Explorer | None:
        """What a launch would do, for sizes and launches that sliders choose, before anything is compiled; and what it
        really does. `chosen` are numbers to begin with, by the names of the sliders."""
        assert self.puzzle.what_if is not None
        launched = find_puzzle(self.puzzle.what_if.puzzle)
        self.warm()

        def run(choice: Choice, progress: Progress) -> RunOfChoice:
            with self._turns:
                return run_choice(launched, choice, self._workers[-1], progress)

        try:
            return Explorer(launched, run, self._devices[-1:], chosen)
        except BadNumber as error:
            self._say(str(error), FAILED)
            return None

    def export(self, file: str = "attempt.html") -> None:
        """Write the picture of the learner's launches as one file that opens in any browser."""
        path = Path(file).resolve()
        cases = self._launched_cases()
        if cases and not path.parent.is_dir():
            self._say(_("There is no folder {folder} to write to.").format(folder=path.parent), FAILED)
        elif cases:
            content = page(self.puzzle, self._checked_text, cases)
            try:
                path.write_text(content, encoding="utf-8")
            except OSError as error:
                text = _("{file} cannot be written: {reason}")
                self._say(text.format(file=f"`{path}`", reason=error.strerror), FAILED)
                return
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

    def op(self) -> HTML | None:
        """The learner's file as it stands."""
        saved = look(self.puzzle)
        if saved.problem:
            self._say(saved.problem, FAILED)
            return None
        return HTML(source_html(saved.text, self.puzzle.problem_name))

    def program(self) -> HTML:
        """The Python side of the puzzle."""
        name = str(self.puzzle.python_file.relative_to(rooms.ROOT))
        return HTML(source_html(self.puzzle.python_file.read_text(), name))

    def hint(self) -> Panel:
        """The hints, one at a time: each one is shown when the learner asks for it, and stays."""
        return hint_panel(self.puzzle)

    def reveal(self) -> Panel:
        """A solution, why it is so, and how it differs from the learner's code. Asks first."""
        return reveal_panel(self.puzzle)

    def history(self) -> Panel:
        """The versions of the learner's file, to look at and to restore."""
        return History(self.puzzle).panel()

    def reset(self) -> None:
        """Empty the region again. What it held is kept in the history."""
        self.verdict = None
        self._say(reset_sentence(self.puzzle))

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

        self._show_what_comes_of(run)

    def _check(
        self,
        saved: Saved,
        place: Place,
        seed: int | None = None,
        go_on: Callable[[], None] = lambda: None,
        cell_line: int | None = None,
    ) -> None:
        """Check what the file holds, and show in a place what is to be said of it. Lines are those of the file, or of
        the cell whose code begins in `cell_line`."""
        if saved.problem:
            place.show(message_html(saved.problem, FAILED))
            return
        text = saved.text
        attempts.remember(self.puzzle, text)
        if seed is not None or self.verdict is None or text != self._checked_text:
            self.verdict, self._checked_text, self._given_up = None, "", None
            self.verdict = self._known_verdict(text, seed) or self._run(text, seed, place, go_on)
            self._checked_text = text if self.verdict.outcome != STOPPED else ""
            record(self.puzzle, text, self.verdict)
        place.show(verdict_html(self.verdict, cell_line))

    def _known_verdict(self, text: str, seed: int | None) -> Verdict | None:
        """The verdict where nothing needs to be run for it."""
        verdict = check_at_once(self.puzzle, text)
        if verdict is None and seed is None:
            self.warm()
            verdict = check_known(self.puzzle, text, self._devices)
        return verdict

    def _run(self, text: str, seed: int | None, place: Place, go_on: Callable[[], None]) -> Verdict:
        """Run the attempt in the workers."""
        is_new = seed is None or check_known(self.puzzle, text, self._devices) is None

        def run(progress: Progress) -> Verdict:
            return check_op(self.puzzle, text, self._workers, progress, seed)

        try:
            return self._wait(run, place, go_on, learn=is_new, foreseen=forecast_in_words(self.puzzle, text))
        except WorkerLost as error:
            return Verdict(self.puzzle.id, STOPPED, str(error))
        except Interrupted:
            self.verdict, self._given_up = self._cancelled_verdict(), text
            raise

    def _show_what_comes_of(self, run: Callable[[Progress], str]) -> None:
        """Run something in the workers, showing progress where its result will stand."""
        place = Place()
        with self._turn():
            try:
                place.show(self._wait(run, place))
            except WorkerLost as error:
                place.show(verdict_html(Verdict(self.puzzle.id, STOPPED, str(error))))

    def _wait(
        self,
        run: Callable[[Progress], Result],
        place: Place,
        go_on: Callable[[], None] = lambda: None,
        learn: bool = False,
        foreseen: str = "",
    ) -> Result:
        """Run something in the workers, with a bar and a button in a place, and what is `foreseen` of the result. With
        `learn`, the next bar knows how long it took. Raises Interrupted where the learner ended it, which has been
        shown; and what `run` and `go_on` raise.
        """
        self.warm()
        waiting = place.wait(Estimate(self.puzzle, self._devices), foreseen)

        def hear(stage: str) -> None:
            go_on()
            waiting(stage)

        try:
            result = run(hear)
        except (KeyboardInterrupt, Cancelled):
            place.show(verdict_html(self._cancelled_verdict()))
            raise Interrupted from None
        else:
            if learn:
                waiting.estimate.remember()
            return result
        finally:
            place.done(waiting)

    def _cancelled_verdict(self) -> Verdict:
        text = _("You stopped the attempt. A new worker is starting; run the cell again when you like.")
        return Verdict(self.puzzle.id, STOPPED, text)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One at a time uses the workers: a cell waits until a check that is under way has come to its end."""
        if not self._turns.acquire(blocking=False):
            self._say(_("The watch is just checking {file}: wait a moment.").format(file=self.puzzle.problem_name))
            self._turns.acquire()
        try:
            yield
        finally:
            self._turns.release()

    def _views(self) -> dict[str, Any]:
        """The launches to draw, by the names of their cases; says why where there are none."""
        return {name: case.view for name, case in self._launched_cases().items()}

    def _launched_cases(self) -> dict[str, CaseResult]:
        """The cases with a launch to draw, by their names; says why where there are none."""
        with self._turn():
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
