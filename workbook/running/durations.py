"""How long attempts take on this machine: what earlier ones took, and what a new one may be expected to take."""

import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from workbook import rooms
from workbook.files import replace_file
from workbook.language import N_, _, ngettext
from workbook.puzzles import Puzzle

STAGES = {"torch": ("start", "open", "call")}
"""The stages of an attempt, by what the learner fills in, where they are not the usual ones."""
USUAL_STAGES = ("start", "precompile", "graph", "run")

AT_FIRST = {
    "start": 1.0,
    "precompile": 2.5,
    "graph": 16.0,
    "run": 0.5,
    "open": 4.0,
    "call": 60.0,
    "build": 0.5,
    "compile": 20.0,
}
"""Seconds that each stage takes where nothing is known of the machine: those of one with two cores."""

TOO_SHORT = 0.1
"""Seconds in which Mojo compiles nothing: the package was there already."""

COUNTED = 9
"""How many of the latest runs say what to expect."""
KEPT = 500
"""How many runs the file holds at least, once it is full."""

SAID = {
    "start": N_("The worker process gets ready"),
    "precompile": N_("Mojo compiles your code"),
    "graph": N_("Mojo accepts your code. MAX builds the graph around it"),
    "run": N_("The kernel runs"),
    "open": N_("PyTorch and the op's library are opened"),
    "call": N_("PyTorch calls the op, which MAX compiles for each size"),
}
"""What the learner is told of each stage of an attempt."""


@dataclass(frozen=True)
class Step:
    """A stage on one of the devices that an attempt runs on, and the seconds that it is expected to take."""

    device: str
    stage: str
    seconds: float


class Estimate:
    """How far an attempt has come, as far as earlier ones can tell. Hears of stages as a worker reports them."""

    said = SAID

    def __init__(
        self, what: Puzzle | str, devices: Sequence[str], now: float | None = None, stages: Sequence[str] = USUAL_STAGES
    ):
        """`what` is a puzzle, which has its stages, or the name of something else that a worker does in `stages`."""
        self.name = what if isinstance(what, str) else what.id
        if isinstance(what, Puzzle):
            stages = STAGES.get(what.fills, USUAL_STAGES)
        runs = _read()
        self.plan = [
            Step(device, stage, _expected(runs, self.name, device, stage)) for device in devices for stage in stages
        ]
        self.begun = time.monotonic() if now is None else now
        self.taken: list[tuple[Step, float]] = []
        """The steps that are over, and their seconds."""
        self._current = 0
        self._current_begun = self.begun

    def hear(self, stage: str, now: float | None = None) -> None:
        """A worker says which stage it is in. "start" after any other begins the next device."""
        now = time.monotonic() if now is None else now
        if stage == self.step.stage:
            return
        following = [number for number in range(self._current + 1, len(self.plan)) if self.plan[number].stage == stage]
        if following:
            self.taken.append((self.step, now - self._current_begun))
            self._current, self._current_begun = following[0], now

    @property
    def step(self) -> Step:
        return self.plan[self._current]

    def fraction(self, now: float | None = None) -> float:
        """What is done of the whole, in 0 … 1: it never falls, and reaches 1 only in the end, which is not here."""
        total = sum(step.seconds for step in self.plan)
        done = sum(step.seconds for step in self.plan[: self._current])
        return (done + self.step.seconds * _share(self._in_step(now) / self.step.seconds)) / total

    def words(self, now: float | None = None) -> str:
        """What happens now, and how long it may take: one line for the learner."""
        said = _(self.said[self.step.stage])
        if self.is_overdue(now):
            return _("{what}: this takes longer than usual.").format(what=said)
        left = self._left(now)
        if left < 1:
            return _("{what}.").format(what=said)
        text = ngettext("{what}: about {seconds} s more.", "{what}: about {seconds} s more.", left)
        return text.format(what=said, seconds=left)

    def is_overdue(self, now: float | None = None) -> bool:
        return self._in_step(now) > 1.5 * self.step.seconds + 3

    def elapsed(self, now: float | None = None) -> int:
        """Whole seconds since it began."""
        return int((time.monotonic() if now is None else now) - self.begun)

    def remember(self, now: float | None = None) -> None:
        """The attempt came to its end: keep what its stages took. Whoever waits for the next one profits.

        Not of a text that has been compiled before: MAX has it in its cache then, and that says nothing of a new one.
        """
        now = time.monotonic() if now is None else now
        taken = [*self.taken, (self.step, now - self._current_begun)]
        if next((seconds < TOO_SHORT for step, seconds in taken if step.stage == "precompile"), False):
            return
        lines = [
            json.dumps({"puzzle": self.name, "device": step.device, "stage": step.stage, "seconds": round(seconds, 2)})
            for step, seconds in taken
        ]
        _append(lines)

    def _in_step(self, now: float | None) -> float:
        return (time.monotonic() if now is None else now) - self._current_begun

    def _left(self, now: float | None) -> int:
        """Seconds until the end, if all goes as expected."""
        later = sum(step.seconds for step in self.plan[self._current + 1 :])
        return round(max(self.step.seconds - self._in_step(now), 0) + later)


def _share(time: float) -> float:
    """What to show of a stage after so much of the time that it is expected to take: even progress at first, then ever
    slower, so that an estimate that was too short never shows a full bar."""
    even = 0.8
    return time if time < even else 1 - (1 - even) * math.exp(-(time - even) / (1 - even))


def _expected(runs: list[dict], puzzle: str, device: str, stage: str) -> float:
    """The median of the latest runs of the stage: of this puzzle on this device, else of any puzzle on it."""
    same_stage = [run for run in runs if (run["device"], run["stage"]) == (device, stage)]
    same_puzzle = [run["seconds"] for run in same_stage if run["puzzle"] == puzzle]
    seconds = same_puzzle or [run["seconds"] for run in same_stage]
    return max(median(seconds[-COUNTED:]) if seconds else AT_FIRST[stage], 0.1)


def _read() -> list[dict]:
    """The runs that are known, oldest first. A line that is damaged is worth no more than being left out."""
    try:
        text = rooms.DURATIONS.read_text(errors="replace")
    except OSError:
        return []
    return [run for line in text.splitlines() if (run := _run(line)) is not None]


def _run(line: str) -> dict | None:
    try:
        run = json.loads(line)
        known = all(isinstance(run[key], str) for key in ("puzzle", "device", "stage"))
        return run if known and 0 <= run["seconds"] < 3600 else None
    except (ValueError, TypeError, KeyError):
        return None


def _append(lines: list[str]) -> None:
    """One write to the end of the file, which another process may write to as well. A file that has grown long is cut;
    what another process adds at that very moment is lost, which does no harm."""
    text = "".join(f"{line}\n" for line in lines)
    try:
        rooms.STATE.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(rooms.DURATIONS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
        known = rooms.DURATIONS.read_text(errors="replace").splitlines()
        if len(known) > 2 * KEPT:
            replace_file(rooms.DURATIONS, "".join(f"{line}\n" for line in known[-KEPT:]))
    except OSError:
        pass  # a full disk, or one that cannot be written to: the next estimate is a little worse
