"""How far a learner has come, over all puzzles: one small file, `.workbook/progress.toml`, to read and to edit.

Everything goes into it at once and stays, whatever happens. A file that cannot be read, as after a slip while it was
edited, is set aside, and made anew from the history of attempts.
"""

import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbook import rooms
from workbook.files import locked, replace_file, toml_lines
from workbook.language import _
from workbook.learner import attempts
from workbook.puzzles import Puzzle, all_puzzles
from workbook.verdict import FAILED, NOT_ATTEMPTED, PASSED, SYMBOLS, Verdict

HEADING = "# How far you have come. You may edit this file; the workbook keeps all but comments.\n"
SET_ASIDE = "progress-unreadable-"
"""What the name of a file begins with that was set aside."""

Tables = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class PuzzleProgress:
    """What has been done with a puzzle. The times are in the learner's time zone; None for what has not happened."""

    outcome: str = NOT_ATTEMPTED
    """Of the last attempt."""
    attempts: int = 0
    """How many versions of the learner's file were checked."""
    hints: int = 0
    """How many hints were shown."""
    first_passed: datetime | None = None
    last_attempt: datetime | None = None
    revealed: datetime | None = None
    """When the solution was shown first."""

    @property
    def is_solved(self) -> bool:
        """Whether any attempt has passed; later ones may have been made wrong on purpose."""
        return self.first_passed is not None

    @property
    def symbol(self) -> str:
        return SYMBOLS[PASSED if self.is_solved else self.outcome]


def read() -> dict[str, PuzzleProgress]:
    """The progress with each puzzle by its id, in the order of the workbook."""
    try:
        try:
            tables = _read()
        except _Unreadable:
            with locked():
                tables = _repaired()
    except OSError as error:
        _complain_of(_("Your progress could not be read: {reason}."), error)
        tables = {}
    return {id: _puzzle_progress(tables.get(id, {})) for id in all_puzzles()}


def of(puzzle: Puzzle) -> PuzzleProgress:
    """The progress with one puzzle."""
    return read()[puzzle.id]


def record(puzzle: Puzzle, op_text: str, verdict: Verdict) -> None:
    """A check came to its end: of `op_text`, the text of the learner's file. The verdict goes into the progress, and
    beside the version in the history. Nothing is recorded of an empty region or of a check that was stopped."""
    if verdict.outcome not in (PASSED, FAILED):
        return
    try:
        is_another = attempts.record_verdict(puzzle, op_text, verdict)
    except OSError as error:
        _complain_of(_("Your progress could not be saved in {file}: {reason}."), error)
        return
    now = _now()

    def update(progress: PuzzleProgress) -> PuzzleProgress:
        passed_now = now if verdict.outcome == PASSED else None
        return replace(
            progress,
            outcome=verdict.outcome,
            attempts=progress.attempts + is_another,
            first_passed=progress.first_passed or passed_now,
            last_attempt=now,
        )

    _update(puzzle, update)


def hint_shown(puzzle: Puzzle, number: int) -> None:
    """The learner has seen the hints up to this one, which is numbered from 1."""
    _update(puzzle, lambda progress: replace(progress, hints=max(progress.hints, number)))


def revealed(puzzle: Puzzle) -> None:
    """The learner has seen the solution."""
    _update(puzzle, lambda progress: replace(progress, revealed=progress.revealed or _now()))


def problem() -> str:
    """Why the file cannot be read, as it is now; empty where it can. Raises OSError."""
    try:
        _read()
    except _Unreadable as error:
        return str(error)
    return ""


def notices() -> list[str]:
    """Sentences on files that were set aside, until they are removed."""
    return [_notice(path) for path in sorted(rooms.STATE.glob(f"{SET_ASIDE}*.toml"))]


# The file


class _Unreadable(Exception):
    """The file is not as it must be; the message says where."""


def _update(puzzle: Puzzle, change: Callable[[PuzzleProgress], PuzzleProgress]) -> None:
    """Change what the file says of a puzzle, in one step that no other process comes between."""
    try:
        with locked():
            try:
                tables = _read()
            except _Unreadable:
                tables = _repaired()
            table = tables.get(puzzle.id, {})
            changed = _table(change(_puzzle_progress(table)))
            tables[puzzle.id] = {**table, **changed}
            _write(tables)
    except OSError as error:
        _complain_of(_("Your progress could not be saved in {file}: {reason}."), error)


def _read() -> Tables:
    """What the file says, by puzzle; raises _Unreadable."""
    try:
        return _parse(rooms.PROGRESS.read_bytes())
    except FileNotFoundError:
        return {}


def _parse(content: bytes) -> Tables:
    try:
        tables = tomllib.loads(content.decode())
    except UnicodeDecodeError:
        raise _Unreadable(_("It is not a text in UTF-8.")) from None
    except tomllib.TOMLDecodeError as error:
        raise _Unreadable(f"{error}.") from None
    for id, table in tables.items():
        if not isinstance(table, dict):
            raise _Unreadable(_("`{key}` stands outside of the puzzles.").format(key=id))
        for key, is_right in KEYS.items():
            if key in table and not is_right(table[key]):
                text = _("`{key}` of {puzzle} cannot be {value}.")
                raise _Unreadable(text.format(key=key, puzzle=id, value=repr(table[key])))
    return tables


def _write(tables: Tables) -> None:
    order = list(all_puzzles())
    ids = [id for id in order if id in tables] + [id for id in tables if id not in order]
    replace_file(rooms.PROGRESS, HEADING + "".join(f"\n{_header(id)}\n{toml_lines(tables[id])}" for id in ids))


def _header(id: str) -> str:
    key = toml_lines({id: 0}).removesuffix(" = 0\n")
    return f"[{key}]"


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_moment(value: object) -> bool:
    return isinstance(value, datetime)


KEYS: dict[str, Callable[[Any], bool]] = {
    "outcome": lambda value: value in (PASSED, FAILED, NOT_ATTEMPTED),
    "attempts": _is_count,
    "hints": _is_count,
    "first_passed": _is_moment,
    "last_attempt": _is_moment,
    "revealed": _is_moment,
}
"""What the file may say of a puzzle. Other keys are left as they are."""


def _puzzle_progress(table: dict[str, Any]) -> PuzzleProgress:
    return PuzzleProgress(**{key: table[key] for key in KEYS if key in table})


def _table(progress: PuzzleProgress) -> dict[str, Any]:
    values = {key: getattr(progress, key) for key in KEYS}
    return {key: value for key, value in values.items() if value is not None}


# A file that cannot be read


def _repaired() -> Tables:
    """What the history of attempts knows, after a file that cannot be read was set aside. The lock is held."""
    try:
        return _read()  # another process may have been here first
    except _Unreadable:
        pass
    tables = {id: _from_history(puzzle) for id, puzzle in all_puzzles().items()}
    tables = {id: table for id, table in tables.items() if table}
    aside = rooms.STATE / f"{SET_ASIDE}{datetime.now():%Y-%m-%d_%H-%M-%S-%f}.toml"
    replace_file(aside, rooms.PROGRESS.read_bytes())  # a copy: a kill between this line and the next loses nothing
    _write(tables)
    print(_notice(aside), file=sys.stderr)
    return tables


def _from_history(puzzle: Puzzle) -> dict[str, Any]:
    """The same of a puzzle as far as its versions tell: all but hints and the reveal."""
    checked = [version for version in attempts.history(puzzle) if version.outcome in (PASSED, FAILED)]
    checked.sort(key=lambda version: version.checked or version.moment)
    if not checked:
        return {}
    when = [(version.checked or version.moment).astimezone() for version in checked]
    passed = [moment for moment, version in zip(when, checked, strict=True) if version.outcome == PASSED]
    progress = PuzzleProgress(
        outcome=checked[-1].outcome or FAILED,
        attempts=len(checked),
        first_passed=passed[0] if passed else None,
        last_attempt=when[-1],
    )
    return _table(progress)


def _notice(aside: Path) -> str:
    try:
        _parse(aside.read_bytes())
        problem = ""
    except (_Unreadable, OSError) as error:
        problem = f" {error}"
    return _(
        "Your progress could not be read, and was made anew from the history of your attempts. "
        "What the file held is kept in {file}: copy from it what is missing, then delete it.{problem}"
    ).format(file=f"`{aside.relative_to(rooms.ROOT)}`", problem=problem)


def _complain_of(what: str, error: OSError) -> None:
    """A full disk, say: an attempt is not to end because its verdict cannot be kept."""
    print(what.format(file=rooms.PROGRESS.relative_to(rooms.ROOT), reason=error.strerror), file=sys.stderr)


def _now() -> datetime:
    return datetime.now(UTC).astimezone().replace(microsecond=0)
