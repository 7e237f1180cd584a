"""Watching the learner's file in the background of a notebook."""

from collections.abc import Callable
from threading import Event, Thread

from workbook.language import _
from workbook.notebook.rendering import message_html
from workbook.notebook.waiting import Interrupted, Place
from workbook.puzzles import Puzzle
from workbook.verdict import FAILED
from workbook.watch import Saved, Superseded, watch

Check = Callable[[Saved, Callable[[], None]], None]
"""Checks what the file holds, and calls now and then what it is given, which raises Superseded."""


class Watching:
    """A thread that has the learner's file checked whenever it holds something new."""

    def __init__(self, puzzle: Puzzle, place: Place, check: Check, known: Saved):
        """`known` is what the file held when it was last checked."""
        self._place = place
        self._check = check
        self._stop = Event()
        Thread(target=watch, args=(puzzle, self._on_change, self._stop, known), daemon=True).start()

    def end(self) -> None:
        """Watch no more; a check that is under way is given up."""
        self._stop.set()

    def _on_change(self, saved: Saved, go_on: Callable[[], None]) -> None:
        try:
            self._check(saved, go_on)
        except Superseded:
            raise
        except Interrupted:
            pass  # the learner pressed the button; the next change is checked again
        except Exception as error:  # there is no cell that could fail, and the watch goes on
            self._place.show(message_html(str(error), FAILED))


def heading(puzzle: Puzzle) -> str:
    """What stands above the verdict of a watched file."""
    text = _("{file} is watched: save it, in any editor, and it is checked here. `p.watch(False)` ends that.")
    return message_html(text.format(file=f"`{puzzle.problem_name}`"))
