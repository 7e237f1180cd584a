"""Looks at the learner's file, whichever editor it is changed in, and says when it holds something new."""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Event

from workbook.language import _
from workbook.learner import attempts
from workbook.puzzles import Puzzle
from workbook.region import RegionError

SECONDS_BETWEEN_LOOKS = 0.4


@dataclass(frozen=True)
class Saved:
    """What the file holds: its text; or, where that is nothing to check, a sentence that says why."""

    text: str = ""
    problem: str = ""


class Superseded(Exception):
    """The file has been changed again, or nobody watches any more: what is being done with it is of no use now."""


def look(puzzle: Puzzle) -> Saved:
    """What the file holds at this moment."""
    try:
        return Saved(text=attempts.read_problem(puzzle))
    except RegionError as error:
        return Saved(problem=str(error))
    except FileNotFoundError:
        text = _(
            "{file} is gone. `workbook reset {puzzle}` brings it back as it was at first; your versions are in "
            "{folder}."
        )
        folder = attempts.history_folder(puzzle)
        return Saved(problem=text.format(file=puzzle.problem_name, puzzle=puzzle.id, folder=folder))
    except UnicodeDecodeError:
        text = _("{file} is not a text in UTF-8. Save it as one, or let `workbook reset {puzzle}` restore it.")
        return Saved(problem=text.format(file=puzzle.problem_name, puzzle=puzzle.id))
    except OSError as error:
        text = _("{file} cannot be read: {reason}")
        return Saved(problem=text.format(file=puzzle.problem_name, reason=error.strerror))


def watch(
    puzzle: Puzzle,
    on_change: Callable[[Saved, Callable[[], None]], None],
    stop: Event,
    known: Saved | None = None,
) -> None:
    """Call `on_change` with what the file holds, and again whenever it holds something else, until `stop` is set.

    `known` is what needs no call any more. A file that is just being written is left to be finished: two looks must
    find the same. `on_change` may take its time. The function that it is given raises Superseded once the text is no
    longer what the file holds, or `stop` is set: `on_change` may call it now and then, and let it through.
    """
    handled, before = known, None
    while not stop.is_set():
        now = look(puzzle)
        if now == before and now != handled:
            handled = now

            def go_on(text: Saved = now) -> None:
                if stop.is_set() or look(puzzle) != text:
                    raise Superseded

            try:
                on_change(now, go_on)
            except Superseded:
                handled = None
        before = now
        stop.wait(SECONDS_BETWEEN_LOOKS)
