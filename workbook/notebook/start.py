"""The first page that a learner sees: does this machine work, and which puzzles are there?"""

import os
import platform
from collections.abc import Callable
from datetime import datetime
from html import escape
from importlib.metadata import version
from pathlib import Path

import numpy as np

from workbook.language import _, ngettext, notebook_file
from workbook.learner import progress
from workbook.learner.progress import PuzzleProgress
from workbook.notebook.rendering import INKS, message_html, text_html
from workbook.notebook.waiting import Place
from workbook.puzzles import Puzzle, all_puzzles
from workbook.pytorch import calls
from workbook.running.devices import default_device, describe_device, devices_for_check, open_device
from workbook.running.worker import Worker
from workbook.verdict import FAILED, NOT_ATTEMPTED, PASSED, STOPPED, WORDS

STYLE = Path(__file__).with_name("panel.css")


class Probe:
    """The worker's side: opens a device, and sends numbers there and back."""

    def __init__(self, kind: str):
        self.kind = kind
        self.device = open_device(kind)

    def run(self, progress: Callable[[str], None]) -> str:
        """What the device calls itself. Raises RuntimeError where it does not keep what it is given."""
        from max.driver import CPU, Buffer

        sent = np.arange(1000, dtype=np.float32)
        back = Buffer.from_numpy(sent).to(self.device).to(CPU()).to_numpy()
        if not np.array_equal(sent, back):
            raise RuntimeError(_("Numbers that were copied to the device came back as others."))
        return describe_device(self.kind)


def show_machine() -> None:
    """Open what attempts run on, and say what it is."""
    place = Place()
    place.show(message_html(_("One moment: the device is opened.")))
    kind = default_device()
    found, problem = [], ""
    for each in devices_for_check(kind):
        worker = Worker(each, executor=Probe)
        try:
            found.append(worker.ask((), lambda stage: None))
        except Exception as error:  # whatever it is: this page is to say it
            problem = str(error).strip() or type(error).__name__
        finally:
            worker.close()
    place.show(_machine_html(kind, found, problem))


def _machine_html(kind: str, found: list[str], problem: str) -> str:
    versions = f"MAX {version('max')}, Mojo {version('mojo-compiler')}, Python {platform.python_version()}"
    if problem:
        text = _("✗ This machine is not ready yet. {versions}.").format(versions=versions)
        advice = _("`workbook doctor`, in a terminal, looks at this machine and says what to do.")
        return message_html(f"{text} {advice}", FAILED) + message_html(problem, FAILED)
    ready = _("✓ This machine is ready: {versions}.").format(versions=versions)
    if kind == "softgpu":
        runs = _(
            "It has no GPU, and you need none: your kernels are compiled for one, as they would be anywhere, and a "
            "software GPU, a program that does what a GPU does, executes them."
        )
    else:
        runs = _("Your kernels run on {devices}.").format(devices="; ".join(found))
    return message_html(f"{ready} {runs}", PASSED)


def overview_html() -> str:
    """All puzzles with links to their notebooks, how far the learner has come, and what is next."""
    puzzles, known = all_puzzles(), progress.read()
    following = next((id for id in puzzles if not known[id].is_solved), None)
    columns = ("", "", _("puzzle"), "", _("attempts"), _("help"), _("last attempt"))
    head = "".join(f"<th>{escape(text)}</th>" for text in columns)
    rows = "".join(_row(puzzle, known[id], id == following) for id, puzzle in puzzles.items())
    parts = [message_html(notice, STOPPED) for notice in progress.notices()]
    parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>")
    parts.append(text_html(_summary(known, following)))
    return f'<style>{STYLE.read_text()}</style><div class="workbook-panel">{"".join(parts)}</div>'


def _summary(known: dict[str, PuzzleProgress], following: str | None) -> str:
    solved = sum(one.is_solved for one in known.values())
    text = ngettext(
        "{solved} of {count} puzzle is solved.", "{solved} of {count} puzzles are solved.", len(known)
    ).format(solved=solved, count=len(known))
    if following is None:
        next_one = _("Well done!")
    else:
        next_one = _("Next is {puzzle}.") if solved else _("Begin with {puzzle}.")
    return f"{text} {next_one.format(puzzle=following)}"


def _row(puzzle: Puzzle, done: PuzzleProgress, is_next: bool) -> str:
    outcome = PASSED if done.is_solved else done.outcome
    state = _(WORDS[outcome])
    if done.is_solved and done.outcome == FAILED:
        state = _("passed (the last attempt failed)")
    if outcome == NOT_ATTEMPTED and puzzle.fills == "torch" and calls.missing():
        state = _("needs PyTorch, which is not installed here")
    link = os.path.relpath(notebook_file(puzzle.notebook), Path.cwd())
    hints = _("{shown} of {count}").format(shown=done.hints, count=len(puzzle.hints)) if done.hints else ""
    if done.revealed:
        hints = _("{hints}, solution").format(hints=hints) if hints else _("solution")
    weight = "; font-weight: bold" if is_next else ""
    return (
        f'<tr><td style="color: {INKS[outcome]}; font-weight: bold">{done.symbol}</td>'
        f'<td class="soft">{puzzle.id}</td>'
        f'<td><a href="{escape(link)}" style="white-space: normal{weight}">{escape(_(puzzle.title))}</a></td>'
        f"<td>{escape(state)}</td>"
        f'<td class="number">{done.attempts or ""}</td>'
        f"<td>{hints}</td>"
        f'<td class="soft">{_when(done.last_attempt)}</td></tr>'
    )


def _when(moment: datetime | None) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M}" if moment else ""
