"""Writing files so that a kill at any moment, and several processes at once, lose nothing."""

import fcntl
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from workbook import rooms

UNFINISHED = ".unfinished-"
"""What the name of a file begins with while it is written. Where a process was killed then, one stays behind."""


@contextmanager
def locked() -> Iterator[None]:
    """Only one process, and one thread of it, is in here at a time. It ends with the process, however that ends.
    It is not to be nested, and nothing that takes long may happen in it."""
    rooms.STATE.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(rooms.LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: str | bytes) -> None:
    """Write a file so that it is either the old or the new one at any moment, whatever happens."""
    data = content.encode() if isinstance(content, str) else content
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=UNFINISHED)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, path.stat().st_mode if path.exists() else 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sweep(path.parent)


def toml_lines(table: Mapping[str, object]) -> str:
    """A table as TOML: lines of `key = value`. Everything that TOML can hold is written back as it was read."""
    return "".join(f"{_toml_key(key)} = {_toml(value)}\n" for key, value in table.items())


def _toml_key(key: str) -> str:
    return key if key.isascii() and key.replace("-", "").replace("_", "").isalnum() else _toml(key)


def _toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case datetime():
            return value.isoformat(" ", "seconds")
        case list():
            return f"[{', '.join(map(_toml, value))}]"
        case dict():
            return "{" + ", ".join(f"{_toml_key(key)} = {_toml(each)}" for key, each in value.items()) + "}"
        case _:
            return str(value)  # numbers; a date or a time alone


def _sweep(folder: Path) -> None:
    """Remove what killed writers left behind; not what somebody may be writing now."""
    for leftover in folder.glob(f"{UNFINISHED}*"):
        try:
            if time.time() - leftover.stat().st_mtime > 60:
                leftover.unlink()
        except FileNotFoundError:
            pass  # finished, or swept by another
