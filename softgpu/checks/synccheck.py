"""synccheck: barriers that not all threads reach, and warp-level instructions that some lanes should not execute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from softgpu.checks.report import Place, Report, Severity, Thread, place_of, thread_of, times
from softgpu.errors import BarrierDeadlock
from softgpu.events import EventKind, Rows
from softgpu.machine import Chunk, Launch
from softgpu.observers import Observer

if TYPE_CHECKING:
    from softgpu.checks.meetings import Meetings

_DIVERGENT_BLOCK = "Barrier error detected. Divergent thread(s) in block"
_DIVERGENT_WARP = "Barrier error detected. Divergent thread(s) in warp"


class Synccheck(Observer):
    """Finds misuse of barriers and of warp-level instructions.

    - A barrier that opened although threads it is for had exited; one that never opens, which ends the launch.
    - Lanes of one warp that execute an `.aligned` barrier at different instructions.
    - A thread that its own member mask does not name; a shuffle from a lane that takes no part.
    - As a warning, a member mask that names lanes that have exited: the instruction goes on without them.

    Different warps may execute a barrier at different instructions. `reports` has one report an instruction and kind.
    """

    wanted_rows = Rows.BARRIERS

    def __init__(self) -> None:
        self.reports: list[Report] = []

    def launch_begin(self, launch: Launch) -> None:
        self._meetings: Meetings | None = None
        self._chunk: Chunk | None = None

    def events(self, launch: Launch, events: NDArray) -> None:
        kinds = events["kind"]
        if not ((kinds > EventKind.FENCE) & (kinds < EventKind.BARRIER)).any():
            return

        from softgpu.checks import meetings

        if self._meetings is None:
            self._meetings = meetings.begin_launch(launch)
        if self._chunk is not launch.chunk:
            self._chunk, self._meetings = launch.chunk, meetings.begin_chunk(self._meetings, launch)
        meetings.follow(self._meetings, events)

    def launch_end(self, launch: Launch) -> None:
        from softgpu.checks import meetings

        if self._meetings is not None:
            found = self._meetings.found[: self._meetings.counters[meetings.FOUND]]
            # A thread that its mask does not name is also absent for those who read from it: one mistake.
            unnamed = found[found[:, meetings.KIND] == meetings.NOT_IN_OWN_MASK, meetings.PC]
            absent = found[:, meetings.KIND] == meetings.SHUFFLE_FROM_ABSENT
            found = found[~(absent & np.isin(found[:, meetings.PC], unnamed))]
            for row in found[np.lexsort((found[:, meetings.KIND], found[:, meetings.PC]))]:
                self.reports.append(_report(launch, row))
        if isinstance(launch.failure, BarrierDeadlock):
            self.reports.append(_deadlock(launch, launch.failure))
        del self._meetings, self._chunk


def _report(launch: Launch, row: NDArray[np.int64]) -> Report:
    from softgpu.checks import meetings

    kind, pc, other, count = (
        int(row[column]) for column in (meetings.KIND, meetings.PC, meetings.OTHER, meetings.COUNT)
    )
    first, second = int(row[meetings.FIRST]), int(row[meetings.SECOND])
    thread, place, severity = thread_of(launch, int(row[meetings.THREAD])), place_of(launch, pc), Severity.ERROR
    places: tuple[Place, ...] = (place,)
    if kind == meetings.EXITED_BEFORE_BARRIER:
        what = _DIVERGENT_BLOCK
        places = (place, place_of(launch, other))
        detail = f"only {first} of {second} threads executed it: {thread} had exited at {places[1]}"
    elif kind == meetings.SPLIT_WARP:
        what = _DIVERGENT_WARP
        places = (place, place_of(launch, other))
        detail = f"other lanes of the warp execute the barrier at {places[1]}, but this form needs all of them together"
    elif kind == meetings.NOT_IN_OWN_MASK:
        what = "Barrier error detected. Invalid arguments"
        detail = f"the member mask {first:#010x} does not name the thread that executed it"
    elif kind == meetings.MEMBER_HAD_EXITED:
        what, severity = _DIVERGENT_WARP, Severity.WARNING
        detail = f"lanes of its member mask had exited (mask {first:#010x}), and it went on without them"
    else:
        what = "Shuffle error detected. Read from an absent lane"
        detail = f"it read from lane {first}, which did not take part: the value is undefined"
    return _made(launch, what, severity, places, thread, detail, count)


def _deadlock(launch: Launch, failure: BarrierDeadlock) -> Report:
    operations = launch.program.operations
    pcs = [next(pc for pc, one in enumerate(operations) if one.instruction.line == line) for line in failure.lines]
    places = tuple(place_of(launch, pc) for pc in pcs)
    detail = f"only {failure.arrived} of {failure.expected} threads executed it, so that it can never open: "
    others = [f"others wait at {other}" for other in places[1:]] or [failure.elsewhere]
    what = _DIVERGENT_WARP if failure.barrier is None else _DIVERGENT_BLOCK
    thread = Thread(failure.thread, failure.block)
    return _made(launch, what, Severity.ERROR, places, thread, detail + ", ".join(others), 1)


def _made(
    launch: Launch, what: str, severity: Severity, places: tuple[Place, ...], thread: Thread, detail: str, count: int
) -> Report:
    lines = [what, f"    at {places[0]}", f"    by {thread}", f"    {detail}"]
    if count > 1:
        lines.append(f"    [{times(count, 'time')}]")
    return Report(
        check="synccheck",
        what=what,
        severity=severity,
        kernel=launch.kernel,
        places=places,
        threads=(thread,),
        text="\n".join(lines),
        count=count,
    )
