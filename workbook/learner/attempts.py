"""The learner's file and the history of attempts. Nothing that was typed is ever lost.

Every version of the file is a file of its own in `.workbook/history/p17/`, named after the moment it was kept. Beside
it, where the version was checked, stands what the check said: a file of the same name that ends in `.toml`.
"""

import shutil
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from workbook import rooms
from workbook.files import file_replaced, locked, replace_file, toml_lines
from workbook.language import _
from workbook.puzzles import Puzzle
from workbook.region import BEGIN, END, RegionError, read_region, replace_region
from workbook.verdict import STOPPED, SYMBOLS, Verdict

MOMENT = "%Y-%m-%d_%H-%M-%S-%f"


class UnknownVersion(ValueError):
    """The history has no version of that number; the message says which it has."""


@dataclass(frozen=True)
class Version:
    """The learner's file as it once was."""

    number: int
    """From 1, the oldest."""
    moment: datetime
    """When it was kept, in UTC."""
    path: Path
    outcome: str | None
    """What its last check said: "passed", "failed" or "not attempted"; None if it was never checked to the end."""
    headline: str
    """The same in a sentence; or empty."""
    checked: datetime | None
    """When that was, in UTC."""

    def read_text(self) -> str:
        return self.path.read_text(errors="replace")

    @property
    def code(self) -> str:
        """What its region held; all of it, where its markers were damaged."""
        text = self.read_text()
        try:
            return read_region(text).code
        except RegionError:
            return text


def read_attempt(puzzle: Puzzle) -> str:
    """The code in the region of the learner's file."""
    return read_region(read_problem(puzzle)).code


def read_problem(puzzle: Puzzle) -> str:
    """The text of the learner's file. Raises RegionError, which names the file, where its markers are damaged."""
    # Some editors begin a file with a byte order mark, which neither Mojo nor Python reads.
    text = puzzle.problem_file.read_text("utf-8-sig")
    try:
        read_region(text)
    except RegionError as error:
        name = puzzle.problem_file.relative_to(rooms.ROOT)
        raise RegionError(
            _(
                "{file}: {problem} Put them back, or let `workbook reset {puzzle}` restore the file: "
                "your version is kept in the history."
            ).format(file=name, problem=error, puzzle=puzzle.id)
        ) from None
    return text


def write_attempt(puzzle: Puzzle, code: str) -> None:
    """Put code into the region of the learner's file; the file and what it held before are kept in the history."""
    with locked():
        text = read_problem(puzzle)
        if BEGIN in code and END in code:  # the region was copied with its markers, or with the whole file
            code = read_region(code).code
        changed = replace_region(text, code)
        read_region(changed)
        _change(puzzle, changed)
        _keep(puzzle, changed.encode())


def reset(puzzle: Puzzle) -> Version | None:
    """Restore the problem as it was handed out: the solution with an empty region. Returns the version that is kept of
    what the file held; None if there was no file."""
    with locked():
        return _change(puzzle, replace_region(puzzle.solution_file.read_text(), puzzle.placeholder))


def restore(puzzle: Puzzle, number: int) -> Version | None:
    """Bring back a version of the learner's file. Returns the version that is kept of what the file held; None if there
    was no file. Raises UnknownVersion."""
    with locked():
        version = find_version(puzzle, number)
        kept = _change(puzzle, version.path.read_bytes())
        _keep(puzzle, version.path.read_bytes())
        return kept


def remember(puzzle: Puzzle, text: str) -> None:
    """Keep a version of the learner's file, unless it is the one that was kept last."""
    with locked():
        _keep(puzzle, text.encode())


def record_verdict(puzzle: Puzzle, text: str, verdict: Verdict) -> bool:
    """Keep what a check said beside the version that it was a check of. Returns whether it is the first verdict on that
    version. A check that was stopped says nothing."""
    if verdict.outcome == STOPPED:
        return False
    with locked():
        _keep(puzzle, text.encode(), anywhere=True)
        same = next(path for path in reversed(_paths(puzzle)) if path.read_bytes() == text.encode())
        beside = _beside(same)
        is_first = not beside.exists()
        said = {"outcome": verdict.outcome, "headline": verdict.headline, "checked": datetime.now(UTC)}
        replace_file(beside, toml_lines(said))
        return is_first


def history(puzzle: Puzzle) -> list[Version]:
    """The versions of the learner's file, oldest first."""
    return [_version(number, path) for number, path in enumerate(_paths(puzzle), 1)]


def find_version(puzzle: Puzzle, number: int) -> Version:
    """One version of the history. Raises UnknownVersion."""
    paths = _paths(puzzle)
    if not paths:
        raise UnknownVersion(_("The history of {puzzle} is still empty.").format(puzzle=puzzle.id))
    if not 1 <= number <= len(paths):
        text = _("The history of {puzzle} has no version {number}: they are numbered from 1 to {last}.")
        raise UnknownVersion(text.format(puzzle=puzzle.id, number=number, last=len(paths)))
    return _version(number, paths[number - 1])


def history_folder(puzzle: Puzzle) -> Path:
    """Where the versions are kept, as seen from the checkout."""
    return (rooms.HISTORY / puzzle.id).relative_to(rooms.ROOT)


def _change(puzzle: Puzzle, content: str | bytes) -> Version | None:
    """Give the learner's file another content. What it held is kept first, whatever that is; where it stands then."""
    data = content.encode() if isinstance(content, str) else content
    kept = None
    if puzzle.problem_file.exists():
        before = puzzle.problem_file.read_bytes()
        _keep(puzzle, before)
        kept = history(puzzle)[-1]
        if before == data:
            return kept
        with file_replaced(puzzle.problem_file, data) as there:
            if there.read_bytes() != before:  # an editor saved just now, or is still writing
                shutil.move(there, _new_path(puzzle))
                kept = history(puzzle)[-1]
    else:
        puzzle.problem_file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(puzzle.problem_file, data)
    return kept


def _keep(puzzle: Puzzle, data: bytes, anywhere: bool = False) -> None:
    """Keep a version, unless it is the last one; with `anywhere`, unless it is any of them."""
    paths = _paths(puzzle)
    if any(path.read_bytes() == data for path in (reversed(paths) if anywhere else paths[-1:])):
        return
    replace_file(_new_path(puzzle), data)


def _new_path(puzzle: Puzzle) -> Path:
    """Where the next version goes."""
    folder, paths = rooms.HISTORY / puzzle.id, _paths(puzzle)
    folder.mkdir(parents=True, exist_ok=True)
    moment = datetime.now(UTC)
    if paths:  # a clock may have been set back: the order of the names is the order of the versions
        moment = max(moment, _moment(paths[-1]) + timedelta(microseconds=1))
    return folder / f"{moment.strftime(MOMENT)}{puzzle.problem_file.suffix}"


def _paths(puzzle: Puzzle) -> list[Path]:
    """The versions, oldest first. Files of other names are none of ours."""
    folder, suffix = rooms.HISTORY / puzzle.id, puzzle.problem_file.suffix
    return sorted(folder.glob(f"[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]_*-??????{suffix}"))


def _moment(path: Path) -> datetime:
    return datetime.strptime(path.stem, MOMENT).replace(tzinfo=UTC)


def _beside(path: Path) -> Path:
    return path.with_suffix(".toml")


def _version(number: int, path: Path) -> Version:
    said: dict = {}
    with suppress(OSError, ValueError):  # not checked yet; or damaged, which costs no more than what the check said
        said = tomllib.loads(_beside(path).read_text())
    outcome, headline, checked = said.get("outcome"), said.get("headline"), said.get("checked")
    return Version(
        number,
        _moment(path),
        path,
        outcome if outcome in SYMBOLS else None,
        headline if isinstance(headline, str) else "",
        checked if isinstance(checked, datetime) and checked.tzinfo else None,
    )
