"""What came of attempts that have been run before. The verdict is made anew from it, with its pictures, at once.

An answer belongs to everything that made it: the text, the kernels, the puzzle's Python file and its table, the sources
of workbook and softgpu, the versions of the tools. If one byte of them is another, it is not found. What ran on a real
GPU is never answered from here, since its driver or the GPU may be another now: there the GPU itself is asked.
"""

import base64
import hashlib
import os
import pickle
import re
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import softgpu
from workbook import rooms
from workbook.files import replace_file
from workbook.language import language
from workbook.puzzles import Puzzle
from workbook.running.execution import Execution, Failure

ROOM = 50_000_000
"""Bytes that all answers may take together. One takes 10 000 to 250 000. The longest unused go first."""

LARGEST = 100_000_000
"""Bytes of recorded accesses above which an answer is not kept: it would take longer to pack than to be run again."""

TOOLS = ("max", "mojo-compiler", "numpy", "torch")
SOURCES = (".py", ".mojo", ".json", ".po")


@dataclass(frozen=True)
class Answer:
    """What came of running an attempt on each of its devices."""

    executions: tuple[Execution, ...]
    seed: int
    when: float
    """Seconds since 1970."""


def identity(puzzle: Puzzle, text: str, devices: Sequence[str]) -> str:
    """The name of an answer: a hash of all that it depends on, as it is now."""
    files = (*rooms.KERNELS.glob("*.mojo"), *rooms.PROBLEMS.glob("*/*.py"), *rooms.SOLUTIONS.glob("*/*.mojo"))
    contents = [(str(file), file.read_bytes()) for file in sorted(files) if file != puzzle.problem_file]
    everything = (text, puzzle, tuple(devices), contents, sys.version, *map(_version, TOOLS), _program(), language())
    return hashlib.sha256(repr(everything).encode()).hexdigest()


def find(puzzle: Puzzle, text: str, devices: Sequence[str]) -> Answer | None:
    """The answer to an attempt, if it is known. A damaged one is thrown away, and the attempt will be run."""
    if "gpu" in devices:
        return None
    file = _file(identity(puzzle, text, devices))
    try:
        digest, content = file.read_text().split()
        if _digest(content) != digest:
            raise ValueError
        answer = pickle.loads(zlib.decompress(base64.b64decode(content)))
        os.utime(file)
    except OSError:  # not known; or in a checkout that cannot be read or written to
        return None
    except Exception:  # whatever a damaged file leads to
        file.unlink(missing_ok=True)
        return None
    return answer


def keep(name: str, puzzle: Puzzle, text: str, devices: Sequence[str], answer: Answer) -> None:
    """Keep an answer. `name` is the identity from before the run: where it is another now, a file has changed
    meanwhile, and nobody knows which of the two was run."""
    if "gpu" in devices or not all(map(_lasts, answer.executions)) or name != identity(puzzle, text, devices):
        return
    if sum(launch.accesses.nbytes for execution in answer.executions for launch in execution.launches) > LARGEST:
        return
    content = base64.b64encode(zlib.compress(pickle.dumps(answer))).decode()
    if len(content) > ROOM:
        return
    try:
        rooms.ANSWERS.mkdir(parents=True, exist_ok=True)
        replace_file(_file(name), f"{_digest(content)} {content}\n")
        _make_room()
    except OSError:
        pass  # a full disk: the attempt will be run again


def _lasts(execution: Execution) -> bool:
    """Whether the same would come of it again. A failure may also be the machine's: a full disk, too little memory."""
    failure = execution.failure
    return failure is None or failure.by_softgpu or bool(failure.diagnostics) or _names_a_line(failure)


def _names_a_line(failure: Failure) -> bool:
    return failure.stage == "graph" and re.search(r"op\.mojo:\d+:\d+: error:", failure.text) is not None


def _make_room() -> None:
    """Delete answers until the rest fits."""
    files = sorted(((file.stat(), file) for file in rooms.ANSWERS.iterdir()), key=lambda each: -each[0].st_mtime)
    taken = 0
    for status, file in files:
        taken += status.st_size
        if taken > ROOM:
            file.unlink(missing_ok=True)


def _file(name: str) -> Path:
    return rooms.ANSWERS / f"{name}.answer"


def _digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


@cache  # what this process runs, and the workers that it starts, does not change with the files
def _program() -> str:
    """A hash of the sources of workbook and softgpu."""
    digest = hashlib.sha256()
    for folder in (Path(rooms.__file__).parent, Path(softgpu.__file__).parent):
        for file in sorted(folder.rglob("*")):
            if file.suffix in SOURCES:
                digest.update(f"{file} {file.stat().st_size}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def _version(tool: str) -> str:
    try:
        return version(tool)
    except PackageNotFoundError:
        return ""
