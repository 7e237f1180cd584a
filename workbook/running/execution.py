"""What comes of running an attempt."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

import softgpu
from softgpu import LaunchTrace, Report
from workbook.puzzles import Arrays
from workbook.running.mojo_compiler import Diagnostic

Progress = Callable[[str], None]
"""Hears of each stage of a run, when it begins and while it lasts."""


@dataclass(frozen=True)
class Failure:
    """Why there are no outputs. `stage` is "precompile", "graph", "launch", or "program" where it is the learner's own
    Python that did not come to its end; "python" where it is the Python side of a puzzle, and "system" where it is the
    machine. `text` is what the tool said."""

    stage: str
    text: str
    diagnostics: tuple[Diagnostic, ...] = ()
    by_softgpu: bool = False
    """Whether the text is softgpu's own sentence, not MAX's account of an error."""
    fault: Fault | None = None


@dataclass(frozen=True)
class Fault:
    """The access that stopped a kernel: `access` is "load", "store" or "atomic", `block` and `thread` are (x, y, z),
    and `line` is the PTX line."""

    access: str
    space: str
    address: int
    block: tuple[int, int, int]
    thread: tuple[int, int, int]
    line: int

    @classmethod
    def of(cls, error: softgpu.MemoryFault) -> Fault:
        return cls(error.access, error.space, error.address, error.block, error.thread, error.line)


@dataclass(frozen=True)
class BufferPlace:
    """Where an array of the graph lay in device memory."""

    address: int
    nbytes: int


@dataclass(frozen=True)
class Execution:
    """What came of running an attempt."""

    device: str
    cases: tuple[Arrays, ...]
    expected: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...] | None = None
    inputs_after: tuple[Arrays, ...] | None = None
    """The inputs as the op left them."""
    places: tuple[dict[str, BufferPlace], ...] = ()
    """For each case, its buffers by the names that the puzzle gives them."""
    recorded: bool = False
    """Whether the device records launches."""
    launches: tuple[LaunchTrace, ...] = ()
    """In the order of execution."""
    outcomes: tuple[Outcome, ...] = ()
    """The same launches' outcomes."""
    launches_by_case: tuple[tuple[LaunchTrace, ...], ...] | None = None
    """The same for each case, where they were run one after the other."""
    failure: Failure | None = None
    seconds: dict[str, float] = field(default_factory=dict)


Cases = tuple[dict[str, int], ...]
"""The sizes of cases, as Puzzle has them."""


@dataclass(frozen=True)
class Outcome:
    """How a launch went: its races (accesses with no order between them), and what stopped it, if anything did."""

    races: tuple[Report, ...] = ()
    error: str = ""
    fault: Fault | None = None


class Clock:
    """Seconds of each stage of a run."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = now - self._last
        self._last = now


def full_text(error: BaseException) -> str:
    """The text of an error after those of its causes: MAX hides Mojo's output in the cause."""
    cause = error.__cause__ or error.__context__
    return f"{full_text(cause)}\n{error}" if cause is not None else str(error)
