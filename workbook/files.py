"""Writing files so that a kill at any moment, and several processes at once, lose nothing."""

import ctypes
import fcntl
import json
import os
import shutil
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
    with _written_beside(path, content) as temporary:
        os.replace(temporary, path)
    _sweep(path.parent)


@contextmanager
def file_replaced(path: Path, content: str | bytes) -> Iterator[Path]:
    """Like `replace_file`, of a file that others write to as well. Gives the place of the file that stood there up to
    that very moment; whoever had begun to write to it goes on there. It is removed in the end, unless it was moved."""
    with _written_beside(path, content) as temporary:
        if not _exchange(temporary, path):
            aside = temporary.with_name(f"{temporary.name}-aside")
            try:  # between here and the replacement, a file put there by a rename would be lost
                os.link(path, aside)
            except OSError:  # a file system without links
                shutil.copy2(path, aside)
            os.replace(temporary, path)
            aside.rename(temporary)
        yield temporary
    temporary.unlink(missing_ok=True)
    _sweep(path.parent)


@contextmanager
def _written_beside(path: Path, content: str | bytes) -> Iterator[Path]:
    """A new file with this content in the same folder, with the permissions of `path`."""
    data = content.encode() if isinstance(content, str) else content
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=UNFINISHED)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(path.stat().st_mode if path.exists() else 0o644)
        yield temporary
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _exchange(one: Path, other: Path) -> bool:
    """Let two files change places at one moment. Returns whether the system can."""
    call = getattr(ctypes.CDLL(None), "renameat2", None)  # Linux has it, though not on every file system
    here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of <fcntl.h> and <linux/fs.h>
    return call is not None and call(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0


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
