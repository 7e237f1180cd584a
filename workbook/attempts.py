"""The learner's file and the history of attempts. Nothing that was typed is ever lost."""

import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from workbook import rooms
from workbook.language import _
from workbook.puzzles import Puzzle
from workbook.region import BEGIN, END, RegionError, read_region, replace_region


def read_attempt(puzzle: Puzzle) -> str:
    """The code in the region of the learner's file."""
    return read_region(read_problem(puzzle)).code


def read_problem(puzzle: Puzzle) -> str:
    """The text of the learner's file. Raises RegionError, which names the file, where its markers are damaged."""
    text = puzzle.problem_file.read_text()
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


def take_attempt(puzzle: Puzzle) -> str:
    """The text of the learner's file, to be checked or run: this version of it is kept in the history."""
    text = read_problem(puzzle)
    remember(puzzle, text)
    return text


def write_attempt(puzzle: Puzzle, code: str) -> None:
    """Put code into the region of the learner's file; the file and what it held before are kept in the history."""
    text = read_problem(puzzle)
    if BEGIN in code and END in code:  # the region was copied with its markers, or with the whole file
        code = read_region(code).code
    changed = replace_region(text, code)
    read_region(changed)
    if changed != text:
        remember(puzzle, text)
        replace_file(puzzle.problem_file, changed)
    remember(puzzle, changed)


def reset(puzzle: Puzzle) -> None:
    """Restore the problem as it was handed out: the solution with an empty region. The attempt is kept."""
    remember(puzzle, puzzle.problem_file.read_text())
    replace_file(puzzle.problem_file, replace_region(puzzle.solution_file.read_text(), puzzle.placeholder))


def history(puzzle: Puzzle) -> list[Path]:
    """The versions of the learner's file, oldest first."""
    return sorted((rooms.HISTORY / puzzle.id).glob(f"*{puzzle.problem_file.suffix}"))


def history_folder(puzzle: Puzzle) -> Path:
    """Where the versions are kept, as seen from the checkout."""
    return (rooms.HISTORY / puzzle.id).relative_to(rooms.ROOT)


def remember(puzzle: Puzzle, text: str) -> None:
    """Keep a version of the learner's file, unless it is the one that was kept last."""
    versions = history(puzzle)
    if versions and versions[-1].read_text() == text:
        return
    folder = rooms.HISTORY / puzzle.id
    folder.mkdir(parents=True, exist_ok=True)
    moment = datetime.now(UTC).strftime("%Y-%m-%d_%H-%M-%S-%f")
    replace_file(folder / f"{moment}{puzzle.problem_file.suffix}", text)


def replace_file(path: Path, text: str) -> None:
    """Write a file so that it is either the old or the new one at any moment, whatever happens."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, path.stat().st_mode if path.exists() else 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
