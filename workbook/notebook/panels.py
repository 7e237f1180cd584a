"""Hints, the solution and the history in a notebook: text with buttons. What they say comes from workbook/learner."""

import re
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from workbook import rooms
from workbook.language import _, ngettext
from workbook.learner import attempts, help
from workbook.learner.attempts import UnknownVersion, Version
from workbook.learner.progress import of as progress_of
from workbook.lint.launch import is_attempted
from workbook.notebook.rendering import INKS, source_html, text_html
from workbook.puzzles import Puzzle
from workbook.verdict import SYMBOLS, WORDS

FOLDER = Path(__file__).parent
ROWS = 12
"""How many versions a history shows at first."""


class Panel(anywidget.AnyWidget):
    """HTML whose buttons change it. `answer` is told which button was pressed, and returns the HTML from then on."""

    _esm = FOLDER / "panel.js"
    _css = FOLDER / "panel.css"
    html = traitlets.Unicode().tag(sync=True)
    late = traitlets.Unicode().tag(sync=True)

    def __init__(self, html: str, answer: Callable[[str], str]):
        late = _("Python has not answered: it is busy, or was restarted. If nothing happens, run this cell again.")
        super().__init__(html=html, late=late)
        self._answer = answer
        self.on_msg(self._asked)

    def _asked(self, widget: object, content: dict, buffers: object) -> None:
        self.html = self._answer(content["ask"])
        self.send_state("html")  # also where it stayed the same: the button waits for it

    def _repr_mimebundle_(self, **keywords: Any) -> tuple[dict, dict] | None:
        """Beside the widget the text alone, for where the notebook is shown without a kernel."""
        content = super()._repr_mimebundle_(**keywords)
        if content is None:
            return None
        data, metadata = content if isinstance(content, tuple) else (content, {})
        still = re.sub(r"<button.*?</button>", "", self.html, flags=re.DOTALL)
        return {**data, "text/html": still, "text/plain": re.sub(r"<[^>]*>", "", still)}, metadata


def hint_panel(puzzle: Puzzle) -> Panel:
    """The hints that were shown before, and a button for the next; after the last one, a button for the solution."""

    def answer(asked: str) -> str:
        if asked == "hint":
            help.next_hint(puzzle)
        return _hints_html(puzzle) + (solution_html(help.reveal(puzzle)) if asked == "reveal" else "")

    return Panel(_hints_html(puzzle), answer)


def reveal_panel(puzzle: Puzzle) -> Panel:
    """The solution to a learner who has it already; to others a button that shows it. So a Run All reveals nothing."""

    def answer(asked: str) -> str:
        return solution_html(help.reveal(puzzle))

    progress = progress_of(puzzle)
    if progress.is_solved or progress.revealed:
        return Panel(answer("reveal"), answer)
    if help.has_attempted(puzzle):
        return Panel(_body(_button("reveal", _("Show the solution"))), answer)
    text = _(
        "You have not tried yet. The solution is worth more after an attempt, even a wrong one: you are told what is "
        "wrong with it, and see what your threads did. `p.hint()` helps you to begin."
    )
    return Panel(_body(text_html(text) + _button("reveal", _("Show it anyway"))), answer)


def solution_html(solution: help.Solution) -> str:
    """A solution, why it is so, and how it differs from the learner's code."""
    parts = [f"<h4>{escape(_('A solution'))}</h4>", source_html(solution.code), text_html(solution.explanation)]
    if solution.remark:
        title = _("Beside your code")
        parts += [f"<h4>{escape(title)}</h4>", text_html(solution.remark)]
    if solution.diff:
        parts.append(_diff_html(solution.diff))
    return _body("".join(parts))


def reset_sentence(puzzle: Puzzle) -> str:
    """Resets the problem, and says where what was there is kept."""
    kept = attempts.reset(puzzle)
    text = _("{file} is as it was at first.").format(file=f"`{puzzle.problem_name}`")
    if kept is None:
        return text
    where = _("What it held is version {number} of the history, {path}: `p.history()` brings it back.")
    return f"{text} {where.format(number=kept.number, path=f'`{kept.path.relative_to(rooms.ROOT)}`')}"


class History:
    """The versions of the learner's file, newest first, each to be shown or restored."""

    def __init__(self, puzzle: Puzzle):
        self.puzzle = puzzle
        self._opened: set[int] = set()
        self._said = ""
        self._all = False

    def panel(self) -> Panel:
        return Panel(self._html(), self._answer)

    def _answer(self, asked: str) -> str:
        what, _space, number = asked.partition(" ")
        self._said = ""
        if what == "all":
            self._all = True
        elif what == "show":
            self._opened ^= {int(number)}
        elif what == "restore":
            self._restore(int(number))
        return self._html()

    def _restore(self, number: int) -> None:
        try:
            kept = attempts.restore(self.puzzle, number)
        except UnknownVersion as error:
            self._said = str(error)
            return
        self._said = _("Version {number} is in {file} again.").format(
            number=number, file=f"`{self.puzzle.problem_name}`"
        )
        if kept is not None and kept.number != number:
            self._said += " " + _("What was there is version {number}.").format(number=kept.number)
        self._said += " " + _("`p.check()` checks it.")

    def _html(self) -> str:
        oldest_first = attempts.history(self.puzzle)
        versions = oldest_first[::-1]
        if not versions:
            return _body(text_html(_("There is no attempt yet. The first one that you check will stand here.")))
        shown = versions if self._all else versions[:ROWS]
        in_file = self._in_file()
        current = next((version.number for version in versions if version.path.read_bytes() == in_file), None)
        head = "".join(
            f"<th>{escape(text)}</th>" for text in (_("version"), _("kept"), _("verdict"), _("first new line"), "")
        )
        codes = ["", *(version.code for version in oldest_first)]
        rows = "".join(
            self._row(version, _new_line(version.code, codes[version.number - 1]), version.number == current)
            for version in shown
        )
        parts = [text_html(self._said)] if self._said else []
        parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>")
        rest = len(versions) - len(shown)
        if rest:
            text = ngettext("Show {number} older one", "Show {number} older ones", rest).format(number=rest)
            parts.append(_button("all", text))
        return _body("".join(parts))

    def _in_file(self) -> bytes | None:
        try:
            return self.puzzle.problem_file.read_bytes()
        except OSError:
            return None

    def _row(self, version: Version, new_line: str, is_in_file: bool) -> str:
        number, is_open = version.number, version.number in self._opened
        show = _button(f"show {number}", _("Hide") if is_open else _("Show"))
        restore = _soft(_("in the file now")) if is_in_file else _button(f"restore {number}", _("Restore"))
        cells = [
            f'<td class="number">{number}</td>',
            f"<td>{version.moment.astimezone():%Y-%m-%d %H:%M:%S}</td>",
            f"<td>{_verdict(version)}</td>",
            f'<td class="code">{new_line}</td>',
            f"<td>{show}{restore}</td>",
        ]
        row = f"<tr>{''.join(cells)}</tr>"
        if is_open:
            headline = text_html(version.headline) if version.headline else ""
            row += f'<tr><td></td><td class="opened" colspan="4">{headline}{source_html(version.code)}</td></tr>'
        return row


def _hints_html(puzzle: Puzzle) -> str:
    shown, count = help.hints_shown(puzzle), len(puzzle.hints)
    parts = []
    for hint in shown:
        title = _("Hint {number} of {count}").format(number=hint.number, count=hint.count)
        parts.append(f"<h4>{escape(title)}</h4>{text_html(hint.text)}")
    if not shown:
        text = ngettext(
            "There is {count} hint.",
            "There are {count} hints, each of which says a little more than the one before.",
            count,
        )
        parts.append(text_html(text.format(count=count)))
    if len(shown) < count:
        title = _("Show a hint") if not shown else _("Next hint")
        parts.append(_button("hint", title))
    else:
        parts.append(text_html(_("That was the last hint.")) + _button("reveal", _("Show the solution")))
    return _body("".join(parts))


def _diff_html(lines: tuple[help.Line, ...]) -> str:
    kinds = {"-": ("removed", "del"), "+": ("added", "ins"), " ": ("", "span")}

    def line_html(line: help.Line) -> str:
        kind, tag = kinds[line.sign]
        pieces = "".join(f"<{tag}>{escape(text)}</{tag}>" if changed else escape(text) for text, changed in line.pieces)
        return f'<span class="line {kind}">{line.sign} {pieces}</span>'

    return f'<pre class="diff">{"".join(map(line_html, lines))}</pre>'


def _verdict(version: Version) -> str:
    if version.outcome is None:
        return _soft(_("not checked"))
    symbol = f'<span style="color: {INKS[version.outcome]}; font-weight: bold">{SYMBOLS[version.outcome]}</span>'
    return f"{symbol} {escape(_(WORDS[version.outcome]))}"


def _new_line(code: str, before: str) -> str:
    """The first line that the version before did not have: most attempts begin alike."""
    if not is_attempted(code):
        return _soft(_("(empty)"))
    lines = [line.strip() for line in code.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    known = {line.strip() for line in before.splitlines()}
    return escape(next((line for line in lines if line not in known), lines[0] if lines else ""))


def _button(ask: str, text: str) -> str:
    return f'<button type="button" data-ask="{ask}">{escape(text)}</button>'


def _soft(text: str) -> str:
    return f'<span class="soft">{escape(text)}</span>'


def _body(html: str) -> str:
    return f'<div class="body">{html}</div>'
