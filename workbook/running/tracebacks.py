"""Where the Python side of a puzzle stopped."""

import linecache
import traceback
from pathlib import Path

from workbook import rooms
from workbook.running.mojo_compiler import Diagnostic


def stopped_in(file: Path, error: BaseException) -> Diagnostic | None:
    """The innermost line of `file` that an error was raised in or below; None where it has nothing to do with it."""
    name = str(file.relative_to(rooms.ROOT))
    message = f"{type(error).__name__}: {error}".partition("\n")[0]
    if isinstance(error, SyntaxError) and error.filename == str(file):
        line = error.lineno or 1
        return Diagnostic(f"{type(error).__name__}: {error.msg}", name, line, error.offset or 1, _source(file, line))
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    if not frames:
        return None
    line = frames[-1].lineno or 1
    return Diagnostic(message, name, line, 1, _source(file, line))


def _source(file: Path, line: int) -> str:
    linecache.checkcache(str(file))
    return linecache.getline(str(file), line).strip()
