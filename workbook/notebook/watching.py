"""Watching the learner's file in the background of a notebook."""

from collections.abc import Callable
from threading import Event, Thread

from workbook.language import _
from workbook.learner.watch import Saved, Superseded, watch
from workbook.notebook.rendering import message_html
from workbook.notebook.waiting import Interrupted, Place
from workbook.puzzles import Puzzle
from workbook.verdict import FAILED

Check = Callable[[Saved, Callable[[], None]], None]
"""Checks what the file holds, and calls now and then what it is given, which raises Superseded."""


class Watching:
    """A thread that has the learner's file checked whenever it holds something new."""

    def __init__(self, puzzle: Puzzle, check: Check, place: Place):
        """`place` is where verdicts stand, and whatever else there is to say."""
        self._puzzle = puzzle
        self._check = check
        self._place = place
        self._heading = Place()
        self._stop = Event()
        self._thread: Thread | None = None

    def announce(self) -> None:
        """Say that the file is watched, in the cell that runs."""
        text = _("{file} is watched: save it, in any editor, and it is checked here. `p.watch(False)` ends that.")
        self._heading.show(message_html(text.format(file=f"`{self._puzzle.problem_name}`")))

    def start(self, known: Saved) -> None:
        """`known` is what the file held when it was last checked."""
        self._thread = Thread(target=watch, args=(self._puzzle, self._on_change, self._stop, known), daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Watch no more; a check that is under way is given up."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        text = _("{file} is not watched any more.")
        self._heading.show(message_html(text.format(file=f"`{self._puzzle.problem_name}`")))

    def _on_change(self, saved: Saved, go_on: Callable[[], None]) -> None:
        try:
            self._check(saved, go_on)
        except Superseded:
            raise
        except Interrupted:
            pass  # the learner pressed the button; the next change is checked again
        except Exception as error:  # there is no cell that could fail, and the watch goes on
            self._place.show(message_html(str(error), FAILED))
